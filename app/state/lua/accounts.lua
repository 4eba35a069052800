-- Changes accounts and says so, as one step: all of it or nothing.
--
-- KEYS[1]  hash of accounts        KEYS[2]  stream of changes
-- ARGV[1]  "put" or "delete"
-- ARGV[2]  longest length of the stream
-- ARGV[3]  1: name each changed account in the stream; 0: one entry that says "read everything again"
-- ARGV[4…] put: key id, record, key id, record, …     delete: key id, …
--
-- Every entry names the one before it (p), so that a reader sees that it missed some. Returns how many were new or gone.

local hash, stream = KEYS[1], KEYS[2]
local put = ARGV[1] == 'put'
local step = put and 2 or 1
local newest = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
local before = newest[1] and newest[1][1] or '0-0'
local changed = 0

local function say(what)
  before = redis.call('XADD', stream, 'MAXLEN', '~', ARGV[2], '*', 'p', before, 'k', what)
end

-- In slices, because Lua's stack holds some thousand values.
for first = 4, #ARGV, 2000 do
  local last = math.min(first + 1999, #ARGV)
  changed = changed + redis.call(put and 'HSET' or 'HDEL', hash, unpack(ARGV, first, last))
end
if ARGV[3] == '1' then
  for at = 4, #ARGV, step do
    say(ARGV[at])
  end
else
  say('*')
end
return changed
