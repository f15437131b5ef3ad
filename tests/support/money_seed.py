"""Drives a world of money from a seed: the same seed, the same history."""

from random import Random

from money_world import FATES, PATHS, ROUTERS, S_NS, MoneyWorld, Process

from harmost.core.budget.leases import Miss

__all__ = ["run"]

STEPS = 120


def run(world: MoneyWorld, seed: int, *, steps: int = STEPS) -> MoneyWorld:
    """`steps` things happen, and what must hold is checked after each; then everything ends."""
    random = Random(seed)
    for _ in range(steps):
        _step(world, random)
        world.check()
    world.settle_everything()
    return world


def _step(world: MoneyWorld, random: Random) -> None:
    process = random.choice(world.processes)
    what = random.random()
    if what < 0.08:
        _mission(world, random, process)
    elif what < 0.34:
        for _ in range(random.choice((1, 1, 1, 5))):
            path, tokens = random.choice(PATHS), random.choice((10, 40, 100, 300))
            share, sent = random.choice((0, 30, 100)), random.random() < 0.9
            for _ in range(2):
                held = world.attempt(process, path, tokens=tokens, share=share, sent=sent)
                if not isinstance(held, Miss) or held.denied or random.random() < 0.2:
                    break
                world.sync(process, "arrives" if random.random() < 0.8 else random.choice(FATES))
                if not process.alive:
                    return
    elif what < 0.52:
        _finish(world, random, process)
    elif what < 0.74:
        world.sync(process, random.choice(("arrives", "arrives", *FATES)))
    elif what < 0.83:
        world.pass_time(random.choice((S_NS // 2, S_NS, 2 * S_NS, 40 * S_NS, 3_600 * S_NS)))
    elif what < 0.85:
        world.push()
    elif what < 0.87:
        world.host.expire()
    elif what < 0.89:
        world.crash(process, loses_journal=random.random() < 0.2)
    elif what < 0.90:
        world.start(random.choice(ROUTERS))  # beside one that lives: a zombie
    elif what < 0.93:
        world.prove(process, resolve=random.choice((0, 1, 100)))
    elif what < 0.94:
        world.host.restart()
    elif what < 0.95:
        world.use_limits(random.choice((20, 100, 200)), random.choice((50, 100)))
    elif what < 0.96:
        world.adjust(random.randrange(100), random.choice((-50_000, -1, 1, 50_000)))
    elif what < 0.97 and world.strays:
        world.deliver_stray(random.randrange(8))
    elif what < 0.98:
        world.price = random.randrange(2)
    elif what < 0.985:
        world.clock_jump_ns = random.choice((-1, 0, 1)) * 86_400 * S_NS
    elif world.direct and random.random() < 0.5:
        world.settle_direct(random.choice(sorted(world.direct)))
    else:
        world.reserve_direct(
            random.choice(PATHS), tokens=random.choice((10, 100)), share=random.choice((0, 50, 100))
        )


def _finish(world: MoneyWorld, random: Random, process: Process) -> None:
    if process.in_flight:
        attempt = process.in_flight[random.choice(sorted(process.in_flight))]
        world.finish(process, attempt, journaled=random.random() < 0.9)


def _mission(world: MoneyWorld, random: Random, process: Process) -> None:
    """One begins, goes on or ends; with a message where that helps."""
    if process.missions and random.random() < 0.2:
        world.end_mission(process, random.randrange(8))
    elif process.missions and random.random() < 0.8:
        mission = random.choice(process.missions)
        for _ in range(random.choice((1, 3, 6))):
            tokens, share = random.choice((1, 10, 40)), random.choice((0, 30, 100))
            found = world.attempt(
                process, mission.where, tokens=tokens, share=share, mission=mission
            )
            if isinstance(found, Miss):
                world.sync(process)
                if not process.alive:
                    return
    else:
        path, usd_nanos = random.choice(PATHS), random.choice((100_000, 400_000, 900_000))
        if not world.begin_mission(process, path, usd_nanos):
            world.sync(process)
            if process.alive:
                world.begin_mission(process, path, usd_nanos)
