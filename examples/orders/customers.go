package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Customer is what the service knows of one.
type Customer struct {
	Name   string `json:"name"`
	Region string `json:"region"`
}

// directory stands for a service elsewhere. Its lookup is called by many goroutines.
type directory struct {
	customers map[string]Customer
	latency   time.Duration
	asked     atomic.Int64
}

func openDirectory(name string, latency time.Duration) (*directory, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading the customers: %w", err)
	}
	d := &directory{latency: latency}
	if err := json.Unmarshal(data, &d.customers); err != nil {
		return nil, fmt.Errorf("reading the customers of %s: %w", name, err)
	}
	return d, nil
}

// lookup answers after a while; false means that there is no such customer.
func (d *directory) lookup(ctx context.Context, id string) (Customer, bool, error) {
	d.asked.Add(1)
	if d.latency > 0 {
		select {
		case <-time.After(d.latency):
		case <-ctx.Done():
			return Customer{}, false, ctx.Err()
		}
	}
	c, ok := d.customers[id]
	return c, ok, nil
}
