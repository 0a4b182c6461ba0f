package store

type collector struct{}
