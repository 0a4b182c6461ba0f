package main

// weir looks after checkpoints wherever a job may have put them: at Google and Azure too,
// though their clients make up most of the program's size. Who downloads weir cannot
// add an import to it.
import _ "github.com/weirflow/weir/checkpoint/store/cloud"
