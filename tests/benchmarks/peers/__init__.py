"""One adapter a library: the same few verbs, each written as a user of that library would write it."""
