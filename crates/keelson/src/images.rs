//! Container images without a registry: built from static binaries, or read from an OCI or Docker archive, and put into
//! a node's containerd.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

mod archive;
mod import;

pub use archive::read as read_archive;
pub use import::import;

/// The sandbox image that every node's containerd is configured with.
pub const PAUSE_IMAGE: &str = "keelson.local/pause:1.0";
/// A shell and its tools, from the distribution's static busybox.
pub const BUSYBOX_IMAGE: &str = "keelson.local/busybox:1.0";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// One piece of an image, addressed by the digest of its bytes.
#[derive(Clone, Debug)]
pub struct Blob {
    pub digest: String,
    pub data: Vec<u8>,
}

/// An image: names, manifest, and the blobs that the manifest speaks of.
#[derive(Clone, Debug)]
pub struct Image {
    pub names: Vec<String>,
    pub manifest: Blob,
    pub media_type: String,
    /// Configuration first, then the layers in order.
    pub blobs: Vec<Blob>,
}

impl Blob {
    fn new(data: Vec<u8>) -> Self {
        let hex: String = Sha256::digest(&data).iter().map(|b| format!("{b:02x}")).collect();
        Blob { digest: format!("sha256:{hex}"), data }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": self.digest, "size": self.data.len()})
    }
}

/// The image whose only program is `pause`.
pub fn pause(binary: &Path) -> Result<Image> {
    let mut layer = Layer::default();
    layer.file("pause", 0o755, &read(binary)?)?;
    build(PAUSE_IMAGE, layer, json!({"Entrypoint": ["/pause"], "User": "65535:65535"}))
}

/// The image with the shell and tools of the static busybox at `binary`.
pub fn busybox(binary: &Path) -> Result<Image> {
    let mut layer = Layer::default();
    for dir in ["bin", "etc", "proc", "root", "sys", "tmp", "var", "var/www", "home"] {
        layer.directory(dir, if dir == "tmp" { 0o1777 } else { 0o755 })?;
    }
    layer.file("bin/busybox", 0o755, &read(binary)?)?;
    for applet in applets(binary)?.iter().filter(|a| a.as_str() != "busybox") {
        layer.symlink(&format!("bin/{applet}"), "/bin/busybox")?;
    }
    layer.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
    )?;
    layer.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    build(BUSYBOX_IMAGE, layer, json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]}))
}

fn applets(binary: &Path) -> Result<Vec<String>> {
    let output =
        std::process::Command::new(binary).arg("--list").output().with_context(|| binary.display().to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

/// An image of one layer; `config` is the part of the image configuration that says what runs.
fn build(name: &str, layer: Layer, config: Value) -> Result<Image> {
    let layer = Blob::new(layer.0.into_inner()?);
    let config = Blob::new(serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }))?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": [layer.descriptor(LAYER)],
    });
    Ok(Image {
        names: vec![name.to_owned()],
        manifest: Blob::new(serde_json::to_vec(&manifest)?),
        media_type: MANIFEST.to_owned(),
        blobs: vec![config, layer],
    })
}

/// The machine's architecture in Go's words, as image configurations have it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer in the making. All times are 0, so that the same content has the same digest.
struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    fn file(&mut self, path: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.0.append_data(&mut header(tar::EntryType::Regular, mode, data.len()), path, data)?;
        Ok(())
    }

    fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.0.append_data(&mut header(tar::EntryType::Directory, mode, 0), path, std::io::empty())?;
        Ok(())
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        self.0.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0), path, target)?;
        Ok(())
    }
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header
}
