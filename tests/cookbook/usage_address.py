import nwdisco as nw0

address = "127.0.0.1:1234"
nw0.advertise("myservice", address)
message = nw0.wait_for_message_from(address)  # the document leaves out "_from"
