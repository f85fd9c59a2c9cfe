"""Amazon Bedrock's API: Converse, ConverseStream, and InvokeModel for embeddings."""
