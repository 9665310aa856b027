package sagemaker

import (
	"context"
	"strings"

	"github.com/stint-ml/stint/api"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// checkModelData refuses model data that cannot be fetched: an archive by ModelDataUrl, or by ModelDataSource an archive, an
// object or all objects below a prefix; for many models the prefix of their archives, by either.
func checkModelData(c *sagemaker.ContainerDefinition) error {
	if c.ModelDataSource != nil && c.ModelDataUrl != nil {
		return invalid("You can specify either ModelDataUrl or ModelDataSource, not both")
	}
	if err := checkSource(c.ModelDataSource); err != nil {
		return err
	}
	uri := modelData(c)
	if platform.OfMany(c) {
		if _, _, err := uri.Split(); err != nil {
			return invalid("ModelDataUrl %q is not the S3 prefix of the models of a container with mode MultiModel", string(uri))
		}
		return nil
	}
	if c.MultiModelConfig != nil {
		return invalid("MultiModelConfig can be specified only for a container with mode MultiModel")
	}
	if uri == "" {
		return nil
	}
	if _, key, err := uri.Split(); err != nil || key == "" {
		return invalid("ModelDataUrl %q is not the S3 URI of a model archive", string(uri))
	}
	return nil
}

// checkSource refuses what of a ModelDataSource would be fetched otherwise than it says.
func checkSource(source *sagemaker.ModelDataSource) error {
	if source == nil || source.S3DataSource == nil {
		return nil
	}
	d := source.S3DataSource
	prefix, gzip := shapes.Value(d.S3DataType) == sagemaker.S3ModelDataTypeS3Prefix, shapes.Value(d.CompressionType) == sagemaker.ModelCompressionTypeGzip
	switch {
	case d.HubAccessConfig != nil:
		return unsupported("HubAccessConfig", "put the model into a bucket")
	case d.ManifestS3Uri != nil || d.ManifestEtag != nil:
		return unsupported("ManifestS3Uri", "name the prefix of the model")
	case d.ETag != nil:
		return unsupported("ETag of a ModelDataSource", "")
	case prefix && gzip:
		return invalid("CompressionType Gzip requires S3DataType S3Object; got S3Prefix")
	case prefix && !strings.HasSuffix(shapes.Value(d.S3Uri), "/"):
		return invalid("S3Uri %q of S3DataType S3Prefix must end with a forward slash", shapes.Value(d.S3Uri))
	}
	return nil
}

// modelData is where a container's model archive is, empty when it brings its own.
func modelData(c *sagemaker.ContainerDefinition) platform.URI {
	if c.ModelDataUrl != nil {
		return platform.URI(*c.ModelDataUrl)
	}
	if source := c.ModelDataSource; source != nil && source.S3DataSource != nil {
		return platform.URI(shapes.Value(source.S3DataSource.S3Uri))
	}
	return ""
}

// servedModel finds the model of a variant. One of many models, or of several containers, is refused where requests cannot name
// one of them, or where AWS has none.
func (s *service) servedModel(ctx context.Context, call *api.Call, in *sagemaker.CreateEndpointConfigInput, v *sagemaker.ProductionVariant) (*platform.Model, error) {
	m, _, err := find[platform.Model](ctx, s, platform.KindModel, "model", *v.ModelName, modelARN(call, v.ModelName))
	switch {
	case err != nil:
		return nil, err
	case several(m):
		return m, checkVariantOfSeveral(in, v, m)
	case !platform.OfMany(m.Spec.PrimaryContainer):
		return m, nil
	case set(v.ServerlessConfig):
		return nil, invalid("Variant %q is serverless, and its model %q has a container with Mode MultiModel, which needs instances", *v.VariantName, *v.ModelName)
	case set(in.AsyncInferenceConfig):
		return nil, invalid("Asynchronous inference needs a model of one; the container of %q has Mode MultiModel", *v.ModelName)
	}
	return m, nil
}
