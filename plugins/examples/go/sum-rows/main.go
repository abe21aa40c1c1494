// Adds up the rows of the input by name: {"rows": [{"name": "a", "amount": 1.5}, …]} becomes {"totals": {"a": 1.5}}.
package main

import (
	"encoding/json"
	"fmt"
	"os"
)

type row struct {
	Name   string  `json:"name"`
	Amount float64 `json:"amount"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	var input struct {
		Rows []row `json:"rows"`
	}
	decoder := json.NewDecoder(os.Stdin)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&input); err != nil {
		return fmt.Errorf("the input is not what I expect: %w", err)
	}
	totals := make(map[string]float64)
	for number, row := range input.Rows {
		if row.Name == "" {
			return fmt.Errorf("rows[%d] has no name", number)
		}
		totals[row.Name] += row.Amount
	}
	fmt.Println(len(input.Rows), "rows")
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"totals": totals})
}
