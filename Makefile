# Short names for ./run, which sets up what it needs.
.PHONY: demo test check bench soak
demo test check bench:
	./run $@

soak:
	./run bench soak
