"""The state of a simulated farm: its clock, its links, who is up, and what was counted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from tilefarm.execute.assignment import Workers
from tilefarm.execute.deadlines import Deadlines
from tilefarm.execute.homes import Homes
from tilefarm.simulate.crew import MEGABIT, SimCrew
from tilefarm.simulate.farm_file import Driver

MB = 1e6


@dataclass
class Totals:
    """Seconds, and bytes, that were counted."""

    seconds: float = 0.0
    """That passed."""
    working: float = 0.0
    """Of all workers together, in calls."""
    passes: float = 0.0
    """That passed while workers had work."""
    pixels: float = 0.0
    """Of the driver's thread with pictures of calls; likewise the next ones."""
    decoding: float = 0.0
    vectors: float = 0.0
    """Of the optimizer and of blending, in memory."""
    disk: float = 0.0
    """Waiting for the disk."""
    link_out: float = 0.0
    """In which the driver's link was busy sending."""
    link_in: float = 0.0
    sent: float = 0.0
    """Bytes over the network; what stays on the driver's machine does not count."""
    received: float = 0.0
    between: float = 0.0
    """Bytes from worker to worker; what stays on a machine counts too."""
    redone: float = 0.0
    """Calls that were lost with their worker."""

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __mul__(self, times: float) -> Totals:
        return Totals(*(getattr(self, each.name) * times for each in fields(self)))

    def __sub__(self, other: Totals) -> Totals:
        return self + other * -1


@dataclass
class Link:
    """One direction of a network link: one message after the other."""

    speed: float
    """Bytes a second."""
    free: float = 0.0
    """When it has sent all that it was given."""
    busy: float = 0.0
    """Seconds so far."""

    def take(self, size: float, now: float) -> tuple[float, float]:
        """Send so many bytes; when that begins and ends."""
        begin = max(now, self.free)
        self.free = begin + size / self.speed
        self.busy += size / self.speed
        return begin, self.free


@dataclass
class World:
    """One farm, from the beginning of a run on."""

    crew: SimCrew
    driver: Driver
    now: float = 0.0
    """The driver's clock: seconds since the run began."""
    up_at: list[float] = field(init=False)
    """Per worker, when it is there: in the future for one that joins, or that was lost."""
    failures: list[tuple[float, int]] = field(default_factory=list)
    """(when, which worker), in order, those to come."""
    totals: Totals = field(default_factory=Totals)

    def __post_init__(self) -> None:
        self.up_at = [worker.joins_after for worker in self.crew.workers]
        self.free = [0.0] * len(self.up_at)
        """Per worker, when it has done all that it has."""
        self.lives = [0] * len(self.up_at)
        """Per worker, how often it was lost."""
        self.warm = [not worker.first_call_seconds for worker in self.crew.workers]
        """Per worker, whether its next call takes no longer than others."""
        self.times = Deadlines(len(self.up_at))
        self.homes = Homes(self.times)
        speed = self.driver.link_mbit * MEGABIT
        self.out, self.into = Link(speed), Link(speed)
        links = [machine.link for machine in self.crew.machines]
        self.machine_in = [None if link is None else Link(link) for link in links]
        self.machine_out = [None if link is None else Link(link) for link in links]

    def present(self) -> Workers:
        """Who is there at this moment."""
        up = [worker for worker, at in enumerate(self.up_at) if at <= self.now]
        joined = [number for number, each in enumerate(self.crew.workers) if each.joins_after <= self.now]
        return Workers(up=up, members=joined, awaited=frozenset(joined) - frozenset(up))

    def send(self, machine: int, size: float) -> float:
        """Send bytes from the driver now; when they are there."""
        there = self.machine_in[machine]
        if there is None:
            return self.now
        self.totals.sent += size
        return self._through(self.out, there, size, self.now, self.crew.machines[machine].latency)

    def receive(self, machine: int, size: float, now: float) -> float:
        """Send bytes to the driver; when they are there."""
        there = self.machine_out[machine]
        if there is None:
            return now
        self.totals.received += size
        return self._through(self.into, there, size, now, self.crew.machines[machine].latency)

    def exchange(self, machine: int, size: float) -> float:
        """Send bytes from other machines to this one; when they are there. All machines do it at once."""
        there, back = self.machine_in[machine], self.machine_out[machine]
        if there is None or back is None or not size:
            return self.now
        self.totals.between += size
        latency = self.crew.machines[machine].latency
        return max(there.take(size, self.now)[1], back.take(size, self.now)[1]) + latency

    def keep(self, size: float, most: float, seconds: float) -> None:
        """Vectors come to the driver's disk, in at most this share of the time."""
        self.now += min(self.keeping(size), most * seconds)

    def keeping(self, size: float) -> float:
        """Seconds in which vectors come to the driver's disk."""
        return size / self.into.speed + size / (self.driver.disk_mb_s * MB)

    def handing_out(self, size: float) -> float:
        """Seconds in which vectors go from the driver's files to the workers."""
        fits = size <= self.driver.memory_gib * 2**30
        read = self.driver.vectors_mb_s if fits else self.driver.disk_mb_s
        return size / self.out.speed + size / (read * MB)

    def _through(self, near: Link, far: Link, size: float, now: float, latency: float) -> float:
        """Through the driver's link and the machine's at once: the slower one decides."""
        begin, end = near.take(size, now)
        return max(end, far.take(size, begin)[1]) + latency

    def handle(self, size: float, synced: float) -> None:
        """The driver reads or takes a picture of a call, and waits for the disk where it must."""
        seconds = self.driver.call_seconds / 2 + size / (self.driver.pixels_mb_s * MB)
        self.totals.pixels += seconds
        self.now += seconds
        if synced:
            self._wait_for_disk(synced)

    def chores(self, pixels: float, vectors: float, resident: float, synced: float) -> None:
        """What the driver does alone."""
        decoding = pixels / (self.driver.megapixels_s * 1e6)
        self.totals.decoding += decoding
        self.now += decoding
        if resident > self.driver.memory_gib * 2**30:
            seconds = vectors / (self.driver.disk_mb_s * MB)
            self.totals.disk += seconds
        else:
            seconds = vectors / (self.driver.vectors_mb_s * MB)
            self.totals.vectors += seconds
        self.now += seconds
        if synced:
            self._wait_for_disk(synced)

    def _wait_for_disk(self, size: float) -> None:
        seconds = self.driver.sync_seconds + size / (self.driver.disk_mb_s * MB)
        self.totals.disk += seconds
        self.now += seconds
