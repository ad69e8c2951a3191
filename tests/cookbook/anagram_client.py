import nwdisco as nw0

service = nw0.discover("anagram")
while True:
    anagram = input("Enter anagram: ")
    word = nw0.send_message_to(service, anagram)
    if word:
        print(word)
    else:
        print("Nothing found")
