package platform

import "strings"

// ARN is an Amazon Resource Name: arn:partition:service:region:account:resource.
type ARN string

// Site is where this installation claims to be; every ARN it makes follows.
type Site struct {
	Partition string // aws or aws-cn
	Region    string
	Account   string // twelve digits
}

// ARN names a resource of a regional service.
func (s Site) ARN(service, resource string) ARN {
	return ARN("arn:" + s.Partition + ":" + service + ":" + s.Region + ":" + s.Account + ":" + resource)
}

// GlobalARN names a resource of a service without regions, such as IAM.
func (s Site) GlobalARN(service, resource string) ARN {
	return ARN("arn:" + s.Partition + ":" + service + "::" + s.Account + ":" + resource)
}

// BucketARN names an S3 bucket, or with a key an object in it.
func (s Site) BucketARN(bucketAndKey string) ARN {
	return ARN("arn:" + s.Partition + ":s3:::" + bucketAndKey)
}

// Split gives the six parts of an ARN; ok is false when it is not one.
func (a ARN) Split() (partition, service, region, account, resource string, ok bool) {
	p := strings.SplitN(string(a), ":", 6)
	if len(p) != 6 || p[0] != "arn" || p[2] == "" || p[5] == "" {
		return "", "", "", "", "", false
	}
	return p[1], p[2], p[3], p[4], p[5], true
}

// ResourceName gives what follows the last slash: the role's name in arn:…:role/service-role/R.
func (a ARN) ResourceName() string { return string(a)[strings.LastIndexByte(string(a), '/')+1:] }
