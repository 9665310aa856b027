// Package http1 is the short way through HTTP/1.1, for the few messages of which there are very many: invocations, on their way in
// and on their way to a container. It knows the plain form of a message, in which nearly all are written; whatever is not plain
// is left, untouched, to net/http, so that what is unusual, malformed or hostile is met by a parser that has met it before.
//
// It knows nothing of what messages are about.
package http1
