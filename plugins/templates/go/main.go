package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

type input struct {
	Name string `json:"name"`
}

func main() {
	greeting := flag.String("greeting", "hello", "what to say")
	flag.Parse()
	if err := run(*greeting); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(greeting string) error {
	var given input
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		return fmt.Errorf("the input is not what I expect: %w", err)
	}
	if given.Name == "" {
		return fmt.Errorf("input.name is empty: whom shall I greet?")
	}
	fmt.Println("attempt", os.Getenv("WINDLASS_ATTEMPT"), "greets", given.Name)
	fmt.Printf("%s, %s\n", greeting, given.Name)
	return nil
}
