package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/stint-ml/stint/platform"
)

// DefaultRole is the execution role that every installation has from its first start.
const DefaultRole = "StintExecutionRole"

// Bootstrap gives the root user's access key, making it and the default execution role on the first start. It may be
// called on every start; a crash in between leaves both or neither. When every root key was deleted or made inactive,
// there is a new one.
func Bootstrap(ctx context.Context, store platform.Store, site platform.Site, random io.Reader, now time.Time) (platform.AccessKey, error) {
	page, err := store.List(ctx, platform.Query{Kind: platform.KindAccessKey, States: []string{KeyOwner("")}})
	if err != nil {
		return platform.AccessKey{}, fmt.Errorf("find the root access key: %w", err)
	}
	for _, rec := range page.Records {
		var k platform.AccessKey
		if err := json.Unmarshal(rec.Doc, &k); err != nil {
			return k, platform.Errorf(platform.Internal, rec.Name, "access key record: %w", err)
		}
		if k.Active {
			return k, nil
		}
	}
	root, err := platform.NewAccessKey(random, now, "")
	if err != nil {
		return root, err
	}
	puts := []platform.Put{{Record: KeyRecord(root)}}
	role := platform.Key{Kind: platform.KindRole, Name: DefaultRole}
	if _, err := store.Get(ctx, role); platform.Is(err, platform.NotFound) {
		r, err := defaultRole(site, random, now)
		if err != nil {
			return root, err
		}
		puts = append(puts, platform.Put{Record: RoleRecord(r)})
	} else if err != nil {
		return root, fmt.Errorf("find the default role: %w", err)
	}
	if err := store.Commit(ctx, platform.Tx{Puts: puts}); err != nil {
		return platform.AccessKey{}, fmt.Errorf("keep the root access key: %w", err)
	}
	return root, nil
}

// networkActions reach nothing here: this server has no container registry and no virtual networks. AWS asks an execution
// role for them, and so does the SageMaker SDK 3.x, which simulates the role's policies before it sends a training job.
const networkActions = `"ecr:GetAuthorizationToken","ec2:CreateNetworkInterface","ec2:CreateNetworkInterfacePermission",` +
	`"ec2:DeleteNetworkInterface","ec2:DeleteNetworkInterfacePermission","ec2:DescribeNetworkInterfaces","ec2:DescribeVpcs",` +
	`"ec2:DescribeDhcpOptions","ec2:DescribeSubnets","ec2:DescribeSecurityGroups"`

// defaultRole may be assumed by the training service and by whoever in the account may assume roles. It lets a job read and
// write data, logs and metrics, and start jobs that run as the same role.
func defaultRole(site platform.Site, random io.Reader, now time.Time) (platform.Role, error) {
	id, err := platform.NewID(random, "AROA")
	r := platform.Role{
		Name: DefaultRole, Path: "/", ID: id, Created: now, MaxSessionSeconds: 12 * 3600,
		Description: "What jobs run as unless they name another role",
	}
	r.Trust = fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sagemaker.amazonaws.com","AWS":%q},"Action":"sts:AssumeRole"}]}`,
		site.GlobalARN("iam", "root"))
	r.Policies = map[string]string{"StintExecution": fmt.Sprintf(`{"Version":"2012-10-17","Statement":[`+
		`{"Effect":"Allow","Action":["s3:*","logs:*","sagemaker:*","cloudwatch:*","sts:GetCallerIdentity",`+networkActions+`],"Resource":"*"},`+
		`{"Effect":"Allow","Action":["iam:GetRole","iam:PassRole"],"Resource":%q}]}`, r.ARN(site))}
	return r, err
}
