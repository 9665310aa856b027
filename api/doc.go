// Package api is the front door and what every service behind it shares: routing, verifying who calls, decoding and
// checking requests, asking whether the caller may, and the one table from our kinds of error to AWS's codes.
//
// A service is data: a Service with its Operations, made by a child package (api/sagemaker, api/sts, …). Its handlers
// get a validated, typed request of an authorized caller and return a value or an error; they never see HTTP.
// Children may use this package; they never know each other, and this package knows none of them.
//
// # Add an operation
//
//  1. Add it to shapes/operations.txt and generate the shapes.
//  2. Write its handler in the service's package and add a line to that package's Operations.
package api
