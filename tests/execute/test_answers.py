"""Every actor of a farm is asked when it starts, and some may just be started again."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

from tests.simulated_ray import RESTART, Actor, RaisedError, Ref, UnavailableError, World, make_farm
from tilefarm.execute.answers import answers_of_all


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = make_farm(monkeypatch, 3).world
    monkeypatch.setattr("tilefarm.execute.answers.ray", world)
    return world


def ask(actor: Actor) -> Ref:
    return actor.do(actor.number)


def test_the_answers_are_in_the_order_of_the_actors(world: World) -> None:
    world.actors[0].idle_at = 5.0
    assert answers_of_all(world.actors, ask, 60) == (0, 1, 2)


def test_an_actor_that_ends_meanwhile_is_asked_again(world: World) -> None:
    world.actors[1].end(0.5, UnavailableError())
    assert answers_of_all(world.actors, ask, 60) == (0, 1, 2)
    assert RESTART < world.time < RESTART + 10


def test_what_an_actor_raises_is_raised(world: World) -> None:
    def raising(actor: Actor) -> Ref:
        return Ref(world.time + 1, error=RaisedError("no such device") if actor.number == 1 else None)

    with pytest.raises(RaisedError, match="no such device"):
        answers_of_all(world.actors, raising, 60)


def test_one_that_is_started_no_more_is_not_waited_for(world: World) -> None:
    world.actors[2].down_until = float("inf")
    with pytest.raises(ActorDiedError):
        answers_of_all(world.actors, lambda actor: actor.alive.remote(), 60)
    assert world.time < 5


def test_nobody_is_waited_for_longer_than_that(world: World) -> None:
    world.actors[2].idle_at = 1e4
    with pytest.raises(GetTimeoutError):
        answers_of_all(world.actors, ask, 60)
    assert world.time < 70


def test_a_loss_is_told_where_the_actor_does_not_come_back_in_time(world: World) -> None:
    world.actors[2].end(0.5, UnavailableError("its machine is gone"), until=1e4)

    def alive_for_a_while(actor: Actor) -> Ref:
        if actor.number == 2 and world.time > 3:
            return Ref(1e4, None)
        return ask(actor)

    with pytest.raises(ActorUnavailableError, match=r"its machine is gone|restarting"):
        answers_of_all(world.actors, alive_for_a_while, 60)
