"""A user of ModelTrainer: the source is a folder, one channel is in S3 and one on this disk, and train() shows the log. The role
comes from the SDK's configuration."""

import json
import sys

from sagemaker.core import image_uris
from sagemaker.core.utils.utils import configure_logging
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, MetricDefinition, OutputDataConfig, SourceCode, Tag

configure_logging()  # the SDK shows nothing unless asked
source, train, test = sys.argv[1:]
trainer = ModelTrainer(
    training_image=image_uris.retrieve(framework="sklearn", region="us-east-1", version="1.2-1"),
    source_code=SourceCode(source_dir=source, entry_script="train.py", requirements="requirements.txt"),
    compute=Compute(instance_type="ml.t3.medium", instance_count=1, volume_size_in_gb=5),
    output_data_config=OutputDataConfig(s3_output_path="s3://flowers/models"),
    hyperparameters={
        "epochs": 3,
        "learning-rate": 0.25,
        "name": "blue whale",
        "digits": "007",
        "shuffle": True,
        "layers": [64, 32],
        "accents": "Zürich 東京",
    },
    base_job_name="iris",
    tags=[Tag(key="team", value="flowers")],
).with_metric_definitions([MetricDefinition(name="loss", regex=r"loss=([0-9.]+)")])
trainer.train(
    input_data_config=[
        InputData(channel_name="train", data_source=train),
        InputData(channel_name="test", data_source=test, content_type="text/csv"),
    ]
)
print()
print(json.dumps({"job": trainer._latest_training_job.training_job_name, "output": trainer.output_data}))
