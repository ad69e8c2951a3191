import nwdisco as nw0

with open("words.txt") as f:
    words = f.read().split()

address = nw0.advertise("anagram")

while True:
    print("Waiting for a word...")
    anagram = nw0.wait_for_message_from(address).lower().strip()
    print(f"Looking for {anagram}")
    letters = "".join(sorted(anagram))
    for word in words:
        if "".join(sorted(word)) == letters:
            print(f"Found {word}")
            nw0.send_reply_to(address, word)
            break
    else:
        print("No match found")
        nw0.send_reply_to(address, None)
