"""Links: each keeps this directory in step with those elsewhere. A link knows the wire, nothing of doors."""
