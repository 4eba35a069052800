-- tokens v2: keep one more admin token, unless there are too many or its name is in use. Called by state/tokens.py: add
-- KEYS[1] hash of tokens   ARGV[1] id   ARGV[2] record   ARGV[3] most tokens there may be   ARGV[4] unix seconds
-- Returns  1 kept, or the very same was kept before; 0 there are too many, or the id is taken; -1 a token that counts has
--          this name, letter case and spaces aside
-- Cost     O(tokens), a few hundred at most
local function plain(name)
  return (string.lower(name):gsub('%s+', ' '):gsub('^ ', ''):gsub(' $', ''))
end

if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  return 1
end
local name = plain(cjson.decode(ARGV[2]).name)
for _, record in ipairs(redis.call('HVALS', KEYS[1])) do
  local good, other = pcall(cjson.decode, record)
  -- A record that does not decode lets nobody in.
  local counts = good and type(other) == 'table' and not other.revoked_sec and (other.expires_sec or 0) > tonumber(ARGV[4])
  if counts and plain(other.name or '') == name then
    return -1
  end
end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
