// Runs the example of docs/webhooks.md, which is in pasted.go. It reads {headers, body, secret} as
// JSON, and writes {genuine} or {refusal}.

package main

import (
	"encoding/json"
	"net/http"
	"os"
)

func main() {
	var given struct {
		Secret, Body string
		Headers      map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		panic(err)
	}
	headers := http.Header{}
	for name, value := range given.Headers {
		headers.Set(name, value)
	}
	verdict := map[string]any{"genuine": true}
	if err := verify(given.Secret, []byte(given.Body), headers); err != nil {
		verdict = map[string]any{"refusal": err.Error()}
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdict); err != nil {
		panic(err)
	}
}
