// Package shapes is the vocabulary of the AWS APIs that Stint speaks: the
// request and response types, and their constraints as data.
//
// The types live in one generated package a service (shapes/sagemaker,
// shapes/sts, …). This parent package holds what they share and what reads
// them: the Shape descriptors, Timestamp, DecodeJSON and Validate. Nothing here
// does I/O, knows a resource's meaning, or imports another package of Stint;
// behaviour belongs to the callers.
//
// # One rule for fields
//
// Every scalar member is a pointer, because AWS tells an absent member from an
// empty one; lists are slices, maps are maps, nested structures are pointers.
// Nil means absent everywhere and is left out of JSON; an empty list that is
// not nil is written as [] (clients rely on "Tags": []). Write new("x") to set
// a member and Value(p) to read one that may be absent.
//
// # Add an operation
//
//  1. Add a line "service Operation" to shapes/operations.txt. That file also
//     pins the version of botocore whose public model is read.
//  2. Run "make shapes" (it fetches the pinned model; the model is not
//     committed) and commit the changed *_gen.go files.
//  3. Run "go test ./shapes/...": it checks that every type matches its
//     descriptor and that every pattern compiles. A pattern the generator
//     cannot translate is a line in shapes/generate/patterns.go.
//
// A new service needs the same steps; its package appears by itself.
package shapes
