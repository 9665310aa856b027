// Package wire holds what every AWS protocol on our port shares: the rendered
// error, request ids, the bound on a body, the containment of panics and the
// HTTP server with its limits. Its children are the protocols themselves:
// sigv4 (who signed this call), sigv2 (the same for S3's older presigned URLs),
// awsjson (JSON 1.0 and 1.1), cbor (RPC v2 CBOR) and query.
//
// Everything under wire is product-blind: it knows bytes, headers and AWS's
// conventions, and imports no other package of this module. Which error of
// ours becomes which AWS code is decided in api, not here.
package wire
