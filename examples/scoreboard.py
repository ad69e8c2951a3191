"""A scoreboard for a game: players tell it their points, and it sends the news to everybody who watches.

Run the board on one computer:                    python examples/scoreboard.py board
a player on each of the others:                   python examples/scoreboard.py play alice
and whoever is curious, for all the news:         python examples/scoreboard.py watch
or for the news on one topic only:                python examples/scoreboard.py watch leader
                                                  python examples/scoreboard.py watch score/alice
A player types points and Enter. Ctrl-C ends each of them.
"""

import sys

import nwdisco as nw0


def board():
    points_come_to = nw0.advertise("scoreboard/points")
    news_goes_from = nw0.advertise("scoreboard/news")
    print("The board is open.", flush=True)
    totals = {}
    leader = None
    while True:
        player, points = nw0.wait_for_message_from(points_come_to)
        totals[player] = totals.get(player, 0) + points
        nw0.send_reply_to(points_come_to, totals[player])
        print(", ".join(f"{name} {total}" for name, total in totals.items()), flush=True)
        nw0.send_news_to(news_goes_from, f"score/{player}", totals[player])
        best = max(totals, key=totals.get)
        if best != leader:
            leader = best
            nw0.send_news_to(news_goes_from, "leader", leader)


def play(me):
    print("Type your points:", flush=True)
    for line in sys.stdin:
        place = nw0.discover("scoreboard/points", wait_for_s=10)
        if place is None:
            print("There is no board on this network.", flush=True)
            continue
        try:
            total = nw0.send_message_to(place, [me, int(line)], wait_for_reply_s=10)
            print(f"You have {total} points.", flush=True)
        except (nw0.ServiceGoneError, nw0.SocketTimedOutError):
            print("The board did not take them: try again.", flush=True)
        except ValueError:
            print("Points are a number, such as 3.", flush=True)


def watch(topic):
    while True:
        place = nw0.discover("scoreboard/news", wait_for_s=nw0.FOREVER)  # each time: it may have moved
        about, what = nw0.wait_for_news_from(place, topic, wait_for_s=2)
        if about is not None:
            print(f"{about}: {what}", flush=True)


try:
    match sys.argv[1:]:
        case ["board"]:
            board()
        case ["play", me]:
            play(me)
        case ["watch", *topic]:
            watch(topic[0] if topic else "")
        case _:
            sys.exit(__doc__)
except KeyboardInterrupt:
    print("Bye.")
