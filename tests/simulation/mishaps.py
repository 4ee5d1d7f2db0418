"""What can go wrong: one function a kind of act (`weather.MISHAPS`), each of which also ends what it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.network import Pipe
    from tests.simulation.node import Node
    from tests.simulation.phone import Phone
    from tests.simulation.weather import Act
    from tests.simulation.world import World


def _in_node(world: World, act: Act) -> Node:
    return world.nodes[int(act.who * len(world.nodes))]


def _crash(world: World, act: Act, _: Phone) -> None:
    node = _in_node(world, act)
    node.crash(act.chance < world.climate.machine_loss, act.chance)
    _restart_in(world, act.span, node)


def _restart_in(world: World, seconds: float, node: Node) -> None:
    world.at(seconds, None, lambda: None if node.up else node.start())


def _freeze(world: World, act: Act, _: Phone) -> None:
    _in_node(world, act).freeze(act.span)


def _drain(world: World, act: Act, _: Phone) -> None:
    node = _in_node(world, act)
    if not node.up or node.draining:
        return

    def leave() -> None:
        node.crash(False, act.chance)
        _restart_in(world, act.span, node)

    node.drain(leave)


def _cut(world: World, act: Act, phone: Phone) -> None:
    if phone.link is not None:
        phone.link.cut(act.chance)


def _half_open(world: World, act: Act, phone: Phone) -> None:
    if phone.link is not None:
        both = act.chance < 0.3
        phone.link.cut(act.chance, silent_up=both or act.chance < 0.65, silent_down=both or act.chance >= 0.65)


def _kill_app(world: World, act: Act, phone: Phone) -> None:
    """Some effects from now, wherever that is. Now and then what begins again has forgotten how often it said hello."""
    phone.dies_after = int(act.chance * 12)

    def again() -> None:
        phone.dies_after = None
        if not phone.running:
            if act.chance * 12 % 1 < 0.1:
                phone.forget_number()
            phone.start()

    world.at(act.span, None, again)


def _suspend(world: World, act: Act, phone: Phone) -> None:
    phone.sleep(act.span * 4 * act.chance)


def _flap(world: World, act: Act, phone: Phone) -> None:
    """The network comes and goes: the next few sockets break while they are being set up."""
    phone.flaps = 1 + int(act.chance * 4)
    _cut(world, act, phone)


def _careless(world: World, act: Act, phone: Phone) -> None:
    """Something between the two leaves an event out, or repeats one: C1 must notice."""
    if phone.link is not None:
        phone.link.down.careless = "lost" if act.chance < 0.5 else "repeated"


def _hide_app(world: World, act: Act, phone: Phone) -> None:
    phone.hide()
    world.at(act.span, None, phone.show)


def _slow_reader(world: World, act: Act, phone: Phone) -> None:
    if phone.link is not None:
        _choke(world, phone.link.down, act)


def _slow_sender(world: World, act: Act, phone: Phone) -> None:
    if phone.link is not None:
        _choke(world, phone.link.up, act)


def _choke(world: World, pipe: Pipe, act: Act) -> None:
    pipe.slow = act.span * 4 * act.chance

    def flow() -> None:
        pipe.slow = 0.0

    world.at(act.span, None, flow)


def _database_down(world: World, act: Act, _: Phone) -> None:
    span = act.span
    world.db.go_down()
    _disturbed(world, span)

    def back() -> None:
        world.db.away = False

    world.at(span, None, back)


def _disturbed(world: World, span: float) -> None:
    world.disturbed_until = max(world.disturbed_until, world.now + span)


def _bus_dead(world: World, act: Act, _: Phone) -> None:
    world.bus.dead = True

    def back() -> None:
        world.bus.dead = False

    world.at(act.span, None, back)


def _tokens_away(world: World, act: Act, _: Phone) -> None:
    world.tokens_away = True

    def back() -> None:
        world.tokens_away = False

    world.at(act.span, None, back)


def _revoke(world: World, act: Act, phone: Phone) -> None:
    """All log-ins of a user are void; whoever still has the app logs in again."""
    if world.db.away:
        return
    rows = world.db.users[phone.user_id]
    rows.auth_gen += 1
    rows.revoked_at = world.now
    for each in world.phones:
        if each.user_id == phone.user_id:
            world.oracle.stops_expected[each.number] = world.oracle.stops_expected.get(each.number, 0) + 1
    world.bus.logged_out(phone.user_id, rows.auth_gen)


def _fail_over(world: World, act: Act, _: Phone) -> None:
    """The database comes back without its newest commits; the nodes are restarted with it, or stay up."""
    world.db.go_down()
    _disturbed(world, 1.0)
    if act.chance < 0.7:
        for node in world.nodes:
            node.crash(False, act.chance)
            _restart_in(world, 1.0 + act.chance, node)
    else:
        world.count("failovers under living nodes")
    world.db.fail_over(1 + int(act.chance * 61) % 6)

    def back() -> None:
        world.db.away = False

    world.at(1.0, None, back)


def _trim(world: World, act: Act, phone: Phone) -> None:
    """Retention."""
    world.db.trim(phone.user_id, int(act.chance * world.db.users[phone.user_id].usn))


MISHAPS: dict[str, Callable[[World, Act, Phone], None]] = {
    "crash": _crash,
    "freeze": _freeze,
    "drain": _drain,
    "cut": _cut,
    "half_open": _half_open,
    "kill_app": _kill_app,
    "flap": _flap,
    "suspend": _suspend,
    "careless": _careless,
    "hide_app": _hide_app,
    "slow_reader": _slow_reader,
    "slow_sender": _slow_sender,
    "database_down": _database_down,
    "bus_dead": _bus_dead,
    "tokens_away": _tokens_away,
    "revoke": _revoke,
    "fail_over": _fail_over,
    "trim": _trim,
}
