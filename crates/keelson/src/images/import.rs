//! Puts an image into containerd: its blobs into the content store, its names into the image store of the namespace that CRI uses.

use containerd_client::{
    services::v1::{
        CreateImageRequest, Image as ImageRecord, UpdateImageRequest, WriteAction, WriteContentRequest,
        content_client::ContentClient, images_client::ImagesClient,
    },
    tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel},
    types::Descriptor,
};

use super::*;

/// containerd's namespace of everything that comes through CRI.
const NAMESPACE: &str = "k8s.io";
/// Bytes per message; containerd accepts 16 MiB.
const CHUNK: usize = 1 << 20;

/// Imports `image` into the containerd behind `socket`. What is there already is kept.
pub async fn import(socket: &Path, image: &Image) -> Result<()> {
    let channel = containerd_client::connect(socket).await.with_context(|| format!("connect to {}", socket.display()))?;
    for blob in &image.blobs {
        write(&channel, blob, BTreeMap::new()).await?;
    }
    // The manifest holds on to the other blobs when containerd collects garbage.
    let references = image.blobs.iter().enumerate();
    let labels = references.map(|(i, b)| (format!("containerd.io/gc.ref.content.{i}"), b.digest.clone())).collect();
    write(&channel, &image.manifest, labels).await?;
    for name in &image.names {
        tag(&channel, name, image).await?;
    }
    Ok(())
}

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    request
}

async fn write(channel: &Channel, blob: &Blob, labels: BTreeMap<String, String>) -> Result<()> {
    let total = blob.data.len() as i64;
    let message = |action: WriteAction, offset: usize, data: &[u8]| WriteContentRequest {
        action: action as i32,
        r#ref: format!("keelson-{}", blob.digest),
        total,
        expected: blob.digest.clone(),
        offset: offset as i64,
        data: data.to_vec(),
        labels: labels.clone().into_iter().collect(),
    };
    let mut messages: Vec<_> =
        blob.data.chunks(CHUNK).enumerate().map(|(i, c)| message(WriteAction::Write, i * CHUNK, c)).collect();
    messages.push(message(WriteAction::Commit, blob.data.len(), &[]));
    match send(channel, messages).await {
        Err(status) if status.code() == Code::AlreadyExists => Ok(()),
        other => other.with_context(|| format!("write {}", blob.digest)),
    }
}

async fn send(channel: &Channel, messages: Vec<WriteContentRequest>) -> Result<(), Status> {
    let mut client = ContentClient::new(channel.clone());
    let mut answers = client.write(request(futures::stream::iter(messages))).await?.into_inner();
    while answers.message().await?.is_some() {}
    Ok(())
}

async fn tag(channel: &Channel, name: &str, image: &Image) -> Result<()> {
    let target = Descriptor {
        media_type: image.media_type.clone(),
        digest: image.manifest.digest.clone(),
        size: image.manifest.data.len() as i64,
        ..Descriptor::default()
    };
    let record = ImageRecord { name: name.to_owned(), target: Some(target), ..ImageRecord::default() };
    let mut client = ImagesClient::new(channel.clone());
    let create = CreateImageRequest { image: Some(record.clone()), ..CreateImageRequest::default() };
    match client.create(request(create)).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::AlreadyExists => {
            let update = UpdateImageRequest { image: Some(record), ..UpdateImageRequest::default() };
            client.update(request(update)).await.with_context(|| format!("update image {name}"))?;
            Ok(())
        }
        Err(status) => Err(status).with_context(|| format!("create image {name}")),
    }
}
