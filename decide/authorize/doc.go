// Package authorize decides whether a principal may do an action to a resource, as AWS IAM decides it.
//
// Parse turns a policy document into a Policy once; Evaluate and EvaluateTrust then answer from compiled policies
// without allocating on the usual path. The rules are those of the public IAM user guide, "Policy evaluation logic" and
// "IAM JSON policy elements reference": a matching Deny beats every Allow, what nobody allows is denied, and a session
// policy can only narrow.
//
// Nothing here knows who the principal is, where policies are kept, what time it is or which services exist: the caller
// brings the principal, the policies and the context keys.
package authorize
