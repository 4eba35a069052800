# Short names for ./run, which sets up what it needs.
.PHONY: demo test check bench engines soak
demo test check bench engines:
	./run $@

soak:
	./run bench soak
