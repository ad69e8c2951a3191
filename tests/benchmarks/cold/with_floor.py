print("nothing", flush=True)
