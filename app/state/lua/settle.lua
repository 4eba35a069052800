-- settle v1: true up reservations and append events of one partition, once.          Called by state/batch.py: Batches
-- KEYS[1] event stream  KEYS[2] marker of the writer  then the balances and in-flight zsets that are touched; full names,
--         one hash tag
-- ARGV[1] number of the batch, growing per writer  ARGV[2] TTL of the marker, sec  ARGV[3] most entries in the stream
-- ARGV[4] number of events  ARGV[5] age up to which a reservation is settled, us  then the events' bytes
-- then per settlement: position in KEYS of a hash, unix us of the reservation, number of fields, then field, us to add
--      (negative: to give back); or position in KEYS of a zset, 0, and the request id whose slot is free
-- Returns 1 done; 0 done before, by an attempt whose answer was lost; -1 the stream is full: nothing was done
-- State   marker: number of the last batch done. A batch waits for the answer to the one before, so `<=` means done.
-- Time    server TIME, us. An older reservation stays as it was charged. A hash that has expired stays away.
-- Cost    O(arguments); 64 events and settlements are ~0.4 ms
local number = tonumber(ARGV[1])
if number <= tonumber(redis.call('GET', KEYS[2]) or 0) then
  return 0
end
local n_events = tonumber(ARGV[4])
if n_events > 0 and redis.call('XLEN', KEYS[1]) + n_events > tonumber(ARGV[3]) then
  return -1
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
for i = 6, 5 + n_events do
  redis.call('XADD', KEYS[1], '*', 'e', ARGV[i])
end
local a, last = 6 + n_events, #ARGV
local now
while a <= last do
  local key, reserved_us, fields = KEYS[tonumber(ARGV[a])], tonumber(ARGV[a + 1]), ARGV[a + 2]
  a = a + 3
  if reserved_us == 0 then
    redis.call('ZREM', key, fields)
  else
    fields = tonumber(fields)
    if not now then
      local time = redis.call('TIME')
      now = time[1] * 1000000 + time[2]
    end
    if now - reserved_us <= tonumber(ARGV[5]) then
      local names = {'t'}
      for i = 1, fields do
        names[1 + i] = ARGV[a + 2 * i - 2]
      end
      local found = redis.call('HMGET', key, unpack(names))
      if found[1] then
        local base, writes = math.max(now, tonumber(found[1])), {}
        for i = 1, fields do
          local add = tonumber(ARGV[a + 2 * i - 1])
          local full_at = found[1 + i] and tonumber(found[1 + i])
          if add > 0 then
            writes[#writes + 1] = names[1 + i]
            writes[#writes + 1] = math.max(base, full_at or 0) + add
          elseif full_at and full_at > base then
            writes[#writes + 1] = names[1 + i]
            writes[#writes + 1] = math.max(base, full_at + add)
          end
        end
        if #writes > 0 then
          redis.call('HSET', key, unpack(writes))
        end
      end
    end
    a = a + 2 * fields
  end
end
return 1
