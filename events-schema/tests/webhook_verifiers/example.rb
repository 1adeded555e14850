# Runs the example of docs/webhooks.md, which is in pasted.rb. It reads {headers, body, secret} as
# JSON, and writes {genuine} or {refusal}.

require "json"
require_relative "pasted"

given = JSON.parse($stdin.read)
begin
  verify(*given.values_at("secret", "body", "headers"))
  puts JSON.generate({ genuine: true })
rescue RuntimeError => refusal
  puts JSON.generate({ refusal: refusal.message })
end
