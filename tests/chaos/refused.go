// Sends the requests that standard input lists, one after another, and prints the status of each answer, or the error.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

type request struct {
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Size      int               `json:"size"`
	IsChunked bool              `json:"is_chunked"`
}

func ask(one request) (int, error) {
	var body io.Reader = bytes.NewReader(make([]byte, one.Size))
	if one.IsChunked {
		// Without its length, a body is sent in chunks.
		body = struct{ io.Reader }{body}
	}
	post, err := http.NewRequest("POST", one.URL, body)
	if err != nil {
		return 0, err
	}
	for name, value := range one.Headers {
		post.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(post)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	_, err = io.ReadAll(answer.Body)
	return answer.StatusCode, err
}

func main() {
	var requests []request
	if err := json.NewDecoder(os.Stdin).Decode(&requests); err != nil {
		panic(err)
	}
	for _, one := range requests {
		if status, err := ask(one); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println(status)
		}
	}
}
