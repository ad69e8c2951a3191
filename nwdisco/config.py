"""Every figure of the protocols, once: its unit, and what changing it costs. What users set is in settings.py.

All beacons of a network share these figures (docs/protocol.md and the other pages), so they are no settings.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


VERSION: Final = "0.1.0"


class Forever:
    """The type of FOREVER: the `wait_for_s` that never runs out."""

    def __repr__(self) -> str:
        return "<Forever>"


FOREVER: Final = Forever()

# --- an advert's limits -----------------------------------------------------------------------------------

TTL_S: Final = 5.0
"""How long others keep an advert after they last heard its machine."""
MIN_TTL_S: Final = 1.0
"""Shorter lives need more beats a second: at 1 s, one every 0.28 s."""
MAX_TTL_S: Final = 86_400.0
MAX_NAME_BYTES: Final = 255
"""UTF-8, as JSON. Name, address and properties of one advert always fit one datagram."""
MAX_ADDRESS_BYTES: Final = 255
MAX_PROPERTIES_BYTES: Final = 700
"""Keys and values together, as JSON."""

# --- the LAN protocol: times ------------------------------------------------------------------------------

BEAT_S: Final = 1.38
"""Seconds between beats, each drawn within 4 % of it. Shorter: a lost change is noticed sooner, more traffic."""
BEAT_SHARE_OF_TTL: Final = 0.28
"""A node whose shortest advert lives under 5 s beats this often in that life."""
BROADCAST_EVERY: Final = 4
"""Each so many beats go by broadcast too. More often: sooner healed where multicast is dropped, more traffic."""
BROADCAST_AFTER_PROBE_S: Final = 30.0
"""A node that is probed takes its multicast for lost, and broadcasts each beat for so long."""
REPEATS_S: Final = (0.1, 0.2, 0.4, 0.6)
"""Gaps between repeats of a change. More: loss is healed without an ask, at the price of traffic on every change."""
ARRIVAL_WHO_S: Final = (0.0, 0.05, 0.15)
"""When a newcomer asks who is here, counted from its start."""
SETTLE_S: Final = 0.3
"""How long a newcomer collects answers before it takes its list for complete ..."""
SETTLE_LIMIT_S: Final = 1.0
"""... and how long at most, when answers are still arriving."""
SUSPECT_SHARE: Final = 0.6
"""The part of its life after which a silent node is probed. Earlier: more probes on a lossy network."""
PROBE_GAP_SHARE: Final = 0.11
"""Next probe after this part of the life that is left: about 25 probes, faster towards the end."""
PROBE_GAP_MIN_S: Final = 0.04
LEAST_WAIT_S: Final = 0.001
"""No timer is set for less: the last moment of a life is not cut into ever smaller parts."""
PROBES_PER_S: Final = 200.0
"""The budget of probes of one beacon. Lower: a power cut makes less traffic; higher: fewer false drops."""
RETRY_UNKNOWN_S: Final = (0.04, 0.08, 0.16)
"""Gaps between asks to an address that answered a newcomer and has not been heard from since."""
RETRY_S: Final = (0.1, 0.2, 0.4, 0.8)
"""Gaps between asks for the same missing changes; after the last, the next beat begins again."""
MOVE_AFTER_S: Final = 3.0
"""A node heard only from another address for so long has moved there."""
MOVE_ASKS_S: Final = (0.0, 0.08, 0.16, 0.24, 0.32)
"""A node that says at another address that it has moved is asked at the old one, so often ..."""
MOVE_S: Final = 0.4
"""... and has moved when it has not answered there after so long. Shorter: who pretends to be it on a lossy network may win."""
MOVES_PER_S: Final = 20.0
"""Claims of moves that are looked into, a second's worth at once. Lower: who makes them up gets fewer questions asked; higher: of
a whole room that moves, more are found at once, and not MOVE_AFTER_S later."""
SAME_QUESTION_S: Final = 0.02
"""A newcomer's question within so long of the last one is its other copy, by broadcast after multicast."""
ANSWER_AT_ONCE_NODES: Final = 16
"""With so many nodes known, a newcomer's question is no longer answered at once, but at random ..."""
ANSWER_SPREAD_S: Final = 0.0005
"""... within this time for each of them ..."""
ANSWER_SPREAD_LIMIT_S: Final = 0.1
"""... and within this at most."""
SAME_MOMENT_S: Final = 0.5
"""Two adverts of a name that are closer in age than this count as made at the same moment."""

# --- the LAN protocol: sizes, counts, rates ---------------------------------------------------------------

MAX_DATAGRAM_BYTES: Final = 1400
"""Fits an Ethernet frame inside most tunnels. What is longer is dropped."""
MAX_NODES: Final = 4096
MAX_NODES_PER_MACHINE: Final = 64
"""Beacons of users and rooms at one IP address. Fewer: less to be had for who invents nodes."""
SOURCE_PER_S: Final = 4000.0
"""Datagrams read a second from one IP address, a second's worth at once. Lower: less harm from a flood; higher: a machine with
20,000 adverts is read at full speed (3,200 a second)."""
MAX_SOURCES: Final = 4096
"""IP addresses whose datagrams are counted; the one silent longest goes first."""
MAX_ADVERTS_PER_NODE: Final = 20_000
MAX_ADVERTS_PER_MACHINE: Final = 40_000
"""Of all nodes at one IP address together. More: one machine can fill more of the directory."""
MAX_ADVERTS: Final = 200_000
MAX_PENDING_CHANGES: Final = 4096
"""Changes kept although one before them is missing, over all nodes (1.7 kB each). Those at one IP address have no more than
are left. Fewer: large directories are read more slowly where datagrams get lost."""
MAX_CONTACTS: Final = 8192
"""Addresses whose proof is remembered; the one known longest that is no node's goes first."""
MAX_TOMBSTONES: Final = 1000
"""Removed names that a node still tells of. Fewer: a node that missed more removals fetches everything."""
ANSWER_PARTS: Final = 32
"""Datagrams of all answers sent at once, then every ANSWER_GAP_S again: 4.5 MB/s. More overruns receivers."""
ANSWER_GAP_S: Final = 0.01
"""Longer: large directories are read more slowly, and so is what a room asks for when all of it starts at once."""
CHANGES_PER_S: Final = 200.0
"""Changes told at once; past it they are gathered for CHANGE_GATHER_S into one datagram."""
CHANGE_GATHER_S: Final = 0.005
BROADCAST_GATHER_S: Final = 0.002
"""A change goes by multicast at once, and by broadcast so much later, together with what came meanwhile."""
WHO_PADDING_BYTES: Final = 10
"""Makes a question 32 bytes long: no shorter than its answer (31), no longer than the shortest beat that leads to one."""
ARRIVAL_PADDING_BYTES: Final = 70
"""A question to everyone is longer, and so is its answer: the newcomer may then ask three times for what follows."""
FIRST_SEQUENCE: Final = 10_000
"""Five digits from the start, so that the first beat is long enough to be answered without amplification."""

# --- rooms and secrets (docs/security.md) ------------------------------------------------------------------

MAX_ROOM_BYTES: Final = 100
MAX_SECRET_FILE: Final = 4096
MIN_SECRET: Final = 8
"""Characters. Shorter ones are guessed by whoever records a datagram."""
CHALLENGES_PER_S: Final = 500.0
"""Of one beacon: challenges to new nodes, to nodes that were silent, and answers to challenges, each. Lower: a flood of recorded
datagrams makes less traffic; higher: new nodes get through one sooner."""
CHALLENGE_AGAIN_S: Final = 0.1
"""A node is asked to prove itself so often at most (at each IP that it seems to be at). Shorter: lost challenges are made good
sooner, more traffic for who says much before it has proved itself."""
SESSION_SILENT_S: Final = 5.0
"""A node that was silent for so long proves itself again. Longer: who holds datagrams back can use them for longer."""
SESSION_S: Final = 60.0
"""And one that never is silent, so often. Shorter: more traffic, 180 bytes for each pair of nodes."""

# --- the control door -------------------------------------------------------------------------------------

CONTROL_VERSION: Final = 1
MAX_CONTROL_LINE: Final = 65_536
"""Bytes of one request."""
MAX_CONTROL_CONNECTIONS: Final = 4096
MAX_WATCH_BACKLOG: Final = 4_000_000
"""Bytes kept for a watcher that does not read; past it, the watcher is cut off and starts again."""
MAX_ADVERTS_PER_PROGRAM: Final = 20_000

# --- the shim (docs/shim.md) ------------------------------------------------------------------------------

SHIM_HEARTBEAT_S: Final = 5.0
"""The lease of a framed registration: what a query answers has a heartbeat younger than this."""
SHIM_GRACE_S: Final = 0.4
"""So much later than its lease such an advert is taken back. Longer: a service that heartbeats every 5 s survives a slower
network; shorter: a dead one is gone sooner. With the LAN's way it stays under the half second that is promised."""
SHIM_TIMEOUT_S: Final = 30.0
"""The lease of a line registration that names no `timeout`."""
SHIM_LATE_WAIT_S: Final = 0.2
"""So long into a service's grace a query waits for its heartbeat. Half of the grace, so that a service that asks who else is
there before it heartbeats still comes in time."""
SHIM_LATE_LOOK_S: Final = 0.01
"""A query that waits for a late heartbeat looks so often whether it has come."""
SHIM_MESSAGE_S: Final = 10.0
"""From a message's first byte to its last; and from a connection's beginning to its first request with the token, where it needs
that. Shorter: slow clients are cut off; longer: they hold a connection for longer."""
SHIM_IDLE_S: Final = 300.0
"""A connection without any message (a watch needs none) is ended after so long."""
SHIM_STALL_S: Final = 30.0
"""A client that takes none of its answers for so long is cut off."""
SHIM_LINGER_S: Final = 2.0
"""After an error that ends a connection: how long the client has to read it."""
SHIM_TURN_S: Final = 0.01
"""All clients together are served for so long, before programs and the LAN have their turn."""
SHIM_STALLED_S: Final = 0.05
"""A beacon that comes so late to end a lease was held up: heartbeats that wait to be read meanwhile are read first."""
SHIM_KEEPALIVE_S: Final = 60
"""A silent connection is tried after so long, and ended half a minute later when nobody is there any more."""
SHIM_REQUESTS_AT_ONCE: Final = 16
"""Of those that one client has sent ahead, before the others have their turn."""
SHIM_SERVICES_AT_ONCE: Final = 200
"""Of answers with more, one is made before everybody has their turn."""
MAX_SHIM_REMEMBERED: Final = 8_000_000
"""Bytes of answers that are kept for who asks the same, as long as they are true."""
SHIM_EXPIRE_AT_ONCE: Final = 200
"""Leases that are ended before everybody has their turn."""
MAX_SHIM_CONNECTIONS: Final = 2048
SHIM_STRANGERS_SHARE: Final = 0.5
"""The part of these that clients of other machines may have, all together, before they have shown the token (without a secret:
ever). More: who fills it leaves less room for this machine's own clients; less: fewer newcomers at once."""
SHIM_WAITING_ROOM: Final = 64
"""Connections past the limit that are still told why they are refused; any more are closed without a word."""
MAX_SHIM_HEADER: Final = 2048
"""Bytes of a frame's header: so its length's first byte is below 9, which no line begins with."""
MAX_SHIM_MESSAGE: Final = 8192
"""Bytes of a line or of a frame's content; the longest advert fits, however it is escaped."""
MAX_SHIM_REGISTRATIONS: Final = 16_000
"""Together with programs' adverts below MAX_ADVERTS_PER_NODE, which is what other nodes take."""
SHIM_KERNEL_BYTES: Final = 65_536
"""What the system may keep of a connection, in each direction. Less: slower far away; more: memory of who does not read."""
MAX_SHIM_UNSENT: Final = 32_000_000
"""Bytes of answers that wait for their clients, all together; past it the client with the most is cut off."""

# --- the NetworkZero link (docs/networkzero.md) -----------------------------------------------------------

NETWORKZERO_PORT: Final = 9999
"""UDP: its adverts, by broadcast. This and the next two are NetworkZero's own."""
NETWORKZERO_RPC_PORT: Final = 9998
"""TCP, on 127.0.0.1: where its programs talk to the beacon of their machine."""
MAX_NETWORKZERO_BYTES: Final = 256
"""Of a datagram. NetworkZero cuts off what is longer, and then stops for good at the half advert."""
NETWORKZERO_EVERY_S: Final = 2.0
"""Each advert is told again so often, like NetworkZero's own. Longer: lost ones are made good later; shorter: more traffic."""
NETWORKZERO_TTL_S: Final = 20.0
"""How long NetworkZero keeps what it was told and is not told again: its own default."""
NETWORKZERO_PER_S: Final = 100.0
"""Adverts told a second, out of each interface. With more than a share of it allows, rounds and told lives get longer."""
NETWORKZERO_ROUND_SHARE: Final = 0.8
"""The part of that budget which repeats may use; the rest is for what changes."""
NETWORKZERO_LATER_S: Final = 0.25
"""Another node's advert is told at random within so long, unless somebody else was heard to tell it."""
NETWORKZERO_SILENT_S: Final = 10.0
"""Who was not heard to repeat an advert for so long has fallen silent. Shorter: taken for silent when datagrams are lost."""
NETWORKZERO_GOODBYE_S: Final = (0.2, 1.0)
"""Gaps between repeats of a withdrawal. More: surer, at the price of traffic on each."""
NETWORKZERO_LAST_WORDS: Final = 500
"""Withdrawals sent at a beacon's end. More overruns receivers."""
NETWORKZERO_RETRY_S: Final = 3.0
"""How often a port that another program has is tried again."""
NETWORKZERO_TAKEN_PER_S: Final = 100.0
"""New adverts and changes taken from NetworkZero a second; the others are taken when they are repeated."""
MAX_NETWORKZERO_IMPORTS: Final = 2000
"""Adverts taken from NetworkZero. When there are so many, a silent one makes room."""
MAX_NETWORKZERO_ADVERTS: Final = 1000
"""Of NetworkZero's programs on this machine, which share its beacon."""
MAX_NETWORKZERO_REQUEST: Final = 8192
"""Bytes of one of their requests; the longest name and address fit, however they are escaped."""
MAX_NETWORKZERO_WAITING: Final = 1000
"""Discoveries that wait; past it they are answered at once."""
NETWORKZERO_WAIT_S: Final = 60.0
"""The longest that one waits: whoever asked may have gone, which a beacon does not notice."""
MAX_NETWORKZERO_LOOKUPS: Final = 8
"""Host names that are looked up at the same time, each in a thread of its own."""

# --- the etcd link (docs/etcd.md) -------------------------------------------------------------------------

ETCD_LEASE_S: Final = 4
"""A machine's lease, renewed each quarter of it. etcd takes up to half a second more to end it: a dead machine is gone within
5 s. Shorter: sooner; longer: an etcd that elects a leader, or is held up, loses no leases."""
ETCD_PLAIN_LEASE_S: Final = 10.0
"""The lease that programs of the plain way have (SEEDS.md, 5): so long theirs stay listed when etcd is away."""
ETCD_LISTED_S: Final = 2.0
"""How long a beacon's first answers wait for what is in etcd. Shorter: sooner without it when etcd is away."""
MAX_ETCD_VALUE: Final = 2048
"""Bytes; the longest advert fits."""

# --- messages between programs (docs/messages.md) ---------------------------------------------------------

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024
"""Of a message or news as JSON. Larger: one sender can fill a listener's memory; what is large is better served by HTTP."""
NEWS_HELD_S: Final = 0.25
"""After its birth a publisher holds news for so long, so that subscribers that wait for it have found it: theirs try every
NEWS_RETRY_S, NetworkZero's every 0.1 to 0.2 s. Nobody sleeps for it. Shorter: first news may be lost."""
NEWS_RETRY_S: Final = 0.02
NEWS_QUEUE: Final = 10_000
"""News that wait for a slow subscriber, on each side. More: more memory."""
NEWS_PATIENCE_S: Final = 1.0
"""How long send_news_to waits for a subscriber whose queue is full, before that one misses news until it has caught up."""
LAST_WORDS_S: Final = 1.0
"""How long a program's end waits for what it has sent to be on its way."""
WATCH_OVER_S: Final = 0.5
"""Who waits for a reply looks every so often whether the service is still there."""
