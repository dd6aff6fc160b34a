#!/bin/bash
# Ends a cloud machine that has nothing to do, whatever became of the machine that started it.
# From cron, every minute: shutdown_when_idle.sh head|worker MINUTES
#   head    works while a tilefarm process is there, or a job that was sent with --cluster
#   worker  works while it is a node of a cluster
set -euo pipefail
role=${1:?head or worker} minutes=${2:?minutes}
stamp=${TILEFARM_IDLE_STAMP:-/var/tmp/tilefarm-idle-since}
case $role in
    head) sign='(^|/)tilefarm( |$)| tilefarm\.remote\.agent ' ;;
    worker) sign='(^|/)raylet( |$)' ;;
    *) echo "the role must be head or worker, got $role" >&2; exit 2 ;;
esac
# Its own line and cron's hold neither sign: tilefarm and raylet must end a word there.
if pgrep -f "$sign" > /dev/null; then
    rm -f "$stamp"
    exit 0
fi
now=$(date +%s)
[ -f "$stamp" ] || echo "$now" > "$stamp"
if [ $((now - $(cat "$stamp"))) -ge $((minutes * 60)) ]; then
    sudo shutdown -h now
fi
