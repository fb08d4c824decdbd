-- Health of a NetworkConfig for Argo CD: Healthy when the spec in git is in effect on every node, Progressing while a change is
-- rolled out, Degraded when it is stalled, refused or was taken back, Suspended while it is held.
local hs = {status = "Progressing", message = "Waiting for the hopsack controller"}
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "Being deleted"
  return hs
end
local status = obj.status
if status == nil or status.conditions == nil then
  return hs
end
-- Conditions of an older generation say nothing of what is in git now.
if status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local conditions = {}
for _, c in ipairs(status.conditions) do
  conditions[c.type] = c
end
local stalled, ready = conditions["Stalled"], conditions["Ready"]
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  hs.message = (stalled.reason or "Stalled") .. ": " .. (stalled.message or "")
  return hs
end
if ready == nil then
  return hs
end
hs.message = ready.message or ""
if ready.status == "True" then
  hs.status = "Healthy"
elseif ready.reason == "RolloutPaused" then
  hs.status = "Suspended"
end
return hs
