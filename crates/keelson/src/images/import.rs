//! Puts an image into containerd: its blobs into the content store, its names into the image store of the namespace that CRI uses.

use containerd_client::{
    services::v1::{
        CreateImageRequest, CreateRequest as CreateLeaseRequest, DeleteRequest as DeleteLeaseRequest,
        Image as ImageRecord, UpdateImageRequest, WriteAction, WriteContentRequest, content_client::ContentClient,
        images_client::ImagesClient, leases_client::LeasesClient,
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
    let channel =
        containerd_client::connect(socket).await.with_context(|| format!("connect to {}", socket.display()))?;
    // Until the image refers to them, only a lease keeps containerd's garbage collection off the blobs.
    let lease =
        CreateLeaseRequest { id: format!("keelson-{}", image.manifest.digest), ..CreateLeaseRequest::default() };
    let mut leases = LeasesClient::new(channel.clone());
    match leases.create(request(lease.clone(), None)).await {
        Err(status) if status.code() != Code::AlreadyExists => return Err(status).context("create a lease"),
        _ => {}
    }
    let written = Import { channel, lease: lease.id.clone() }.run(image).await;
    let release = DeleteLeaseRequest { id: lease.id, ..DeleteLeaseRequest::default() };
    leases.delete(request(release, None)).await.context("end the lease")?;
    written
}

/// A request in CRI's namespace, under a lease where there is one.
fn request<T>(message: T, lease: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", MetadataValue::from_static(NAMESPACE));
    if let Some(lease) = lease.and_then(|l| l.parse().ok()) {
        request.metadata_mut().insert("containerd-lease", lease);
    }
    request
}

struct Import {
    channel: Channel,
    lease: String,
}

impl Import {
    async fn run(&self, image: &Image) -> Result<()> {
        for blob in &image.blobs {
            self.write(blob, BTreeMap::new()).await?;
        }
        // The manifest holds on to the other blobs when containerd collects garbage.
        let references = image.blobs.iter().enumerate();
        let labels = references.map(|(i, b)| (format!("containerd.io/gc.ref.content.{i}"), b.digest.clone())).collect();
        self.write(&image.manifest, labels).await?;
        for name in &image.names {
            self.tag(name, image).await?;
        }
        Ok(())
    }

    async fn write(&self, blob: &Blob, labels: BTreeMap<String, String>) -> Result<()> {
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
        match self.send(messages).await {
            Err(status) if status.code() == Code::AlreadyExists => Ok(()),
            other => other.with_context(|| format!("write {}", blob.digest)),
        }
    }

    async fn send(&self, messages: Vec<WriteContentRequest>) -> Result<(), Status> {
        let mut client = ContentClient::new(self.channel.clone());
        let mut answers = client.write(request(futures::stream::iter(messages), Some(&self.lease))).await?.into_inner();
        while answers.message().await?.is_some() {}
        Ok(())
    }

    async fn tag(&self, name: &str, image: &Image) -> Result<()> {
        let target = Descriptor {
            media_type: image.media_type.clone(),
            digest: image.manifest.digest.clone(),
            size: image.manifest.data.len() as i64,
            ..Descriptor::default()
        };
        let record = ImageRecord { name: name.to_owned(), target: Some(target), ..ImageRecord::default() };
        let mut client = ImagesClient::new(self.channel.clone());
        let create = CreateImageRequest { image: Some(record.clone()), ..CreateImageRequest::default() };
        match client.create(request(create, Some(&self.lease))).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == Code::AlreadyExists => {
                let update = UpdateImageRequest { image: Some(record), ..UpdateImageRequest::default() };
                client
                    .update(request(update, Some(&self.lease)))
                    .await
                    .with_context(|| format!("update image {name}"))?;
                Ok(())
            }
            Err(status) => Err(status).with_context(|| format!("create image {name}")),
        }
    }
}
