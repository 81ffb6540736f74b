//! Reads an image archive: an OCI layout (`index.json`) or what `docker save` writes (`manifest.json`), gzipped or not.

use super::*;

/// All images of the archive at `path`.
pub fn read(path: &Path) -> Result<Vec<Image>> {
    let files = entries(path)?;
    if files.contains_key("manifest.json") && !files.contains_key("index.json") {
        return docker(&files);
    }
    match files.get("index.json") {
        Some(index) => oci(&files, index),
        None => bail!("{} is neither an OCI nor a Docker image archive", path.display()),
    }
}

type Files = BTreeMap<String, Vec<u8>>;

fn entries(path: &Path) -> Result<Files> {
    let raw = super::read(path)?;
    let data = if raw.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(raw.as_slice()).read_to_end(&mut plain)?;
        plain
    } else {
        raw
    };
    let mut files = Files::new();
    for entry in tar::Archive::new(data.as_slice()).entries()? {
        let mut entry = entry.with_context(|| format!("{} is not a tar archive", path.display()))?;
        let name = entry.path()?.display().to_string().trim_start_matches("./").to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        files.insert(name, content);
    }
    Ok(files)
}

fn file<'a>(files: &'a Files, name: &str) -> Result<&'a Vec<u8>> {
    files.get(name).with_context(|| format!("the archive has no {name}"))
}

fn blob(files: &Files, descriptor: &Value) -> Result<Blob> {
    let digest = descriptor["digest"].as_str().context("descriptor without digest")?;
    let data = file(files, &format!("blobs/{}", digest.replace(':', "/")))?.clone();
    let blob = Blob::new(data);
    if blob.digest != digest {
        bail!("the content of {digest} has the digest {}", blob.digest);
    }
    Ok(blob)
}

fn oci(files: &Files, index: &[u8]) -> Result<Vec<Image>> {
    let index: Value = serde_json::from_slice(index).context("index.json")?;
    let list = index["manifests"].as_array().context("index.json has no manifests")?;
    list.iter().map(|descriptor| oci_image(files, descriptor)).collect()
}

fn oci_image(files: &Files, descriptor: &Value) -> Result<Image> {
    let annotations = &descriptor["annotations"];
    let named =
        annotations["io.containerd.image.name"].as_str().or(annotations["org.opencontainers.image.ref.name"].as_str());
    let name = named.context("an image of the archive has no name")?.to_owned();
    let mut manifest = blob(files, descriptor)?;
    let mut parsed: Value = serde_json::from_slice(&manifest.data)?;
    if let Some(platforms) = parsed["manifests"].as_array() {
        let mine = platforms.iter().find(|m| m["platform"]["architecture"] == architecture());
        manifest = blob(files, mine.context("the archive has no image for this machine's architecture")?)?;
        parsed = serde_json::from_slice(&manifest.data)?;
    }
    let mut blobs = vec![blob(files, &parsed["config"])?];
    for layer in parsed["layers"].as_array().context("manifest without layers")? {
        blobs.push(blob(files, layer)?);
    }
    let media_type = parsed["mediaType"].as_str().unwrap_or(MANIFEST).to_owned();
    Ok(Image { names: vec![full_name(&name)], manifest, media_type, blobs })
}

fn docker(files: &Files) -> Result<Vec<Image>> {
    let list: Vec<Value> = serde_json::from_slice(file(files, "manifest.json")?).context("manifest.json")?;
    list.iter().map(|entry| docker_image(files, entry)).collect()
}

fn docker_image(files: &Files, entry: &Value) -> Result<Image> {
    let text = |v: &Value| v.as_str().map(str::to_owned).context("manifest.json: a string was expected");
    let config = Blob::new(file(files, &text(&entry["Config"])?)?.clone());
    let mut layers = Vec::new();
    for layer in entry["Layers"].as_array().context("manifest.json: no Layers")? {
        layers.push(Blob::new(file(files, &text(layer)?)?.clone()));
    }
    let tags = entry["RepoTags"].as_array().context("manifest.json: no RepoTags")?;
    let names = tags.iter().map(|t| text(t).map(|t| full_name(&t))).collect::<Result<Vec<_>>>()?;
    let kind = |l: &Blob| if l.data.starts_with(&[0x1f, 0x8b]) { format!("{LAYER}+gzip") } else { LAYER.to_owned() };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": layers.iter().map(|l| l.descriptor(&kind(l))).collect::<Vec<_>>(),
    });
    let mut blobs = vec![config];
    blobs.extend(layers);
    Ok(Image { names, manifest: Blob::new(serde_json::to_vec(&manifest)?), media_type: MANIFEST.into(), blobs })
}

/// `busybox` → `docker.io/library/busybox:latest`: containerd knows only full names.
fn full_name(name: &str) -> String {
    let first = name.split('/').next().unwrap_or_default();
    let has_host = name.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let host = match (has_host, name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    };
    let last = host.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || last.contains('@') { host } else { format!("{host}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost/x", "localhost/x:latest"),
            ("keelson.local/pause:1.0", "keelson.local/pause:1.0"),
            ("host:5000/x", "host:5000/x:latest"),
        ];
        for (short, full) in cases {
            assert_eq!(full_name(short), full);
        }
    }

    #[test]
    fn a_docker_archive_is_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image.tar");
        let mut tar = tar::Builder::new(Vec::new());
        let manifest = br#"[{"Config":"c.json","RepoTags":["x:1"],"Layers":["l.tar"]}]"#;
        for (name, data) in [("manifest.json", manifest.as_slice()), ("c.json", b"{}"), ("l.tar", b"layer")] {
            tar.append_data(&mut header(tar::EntryType::Regular, 0o644, data.len()), name, data).unwrap();
        }
        fs::write(&path, tar.into_inner().unwrap()).unwrap();
        let images = read(&path).unwrap();
        assert_eq!(images[0].names, ["docker.io/library/x:1"]);
        assert_eq!(images[0].blobs.len(), 2);
        fs::write(&path, b"not a tar").unwrap();
        assert!(read(&path).is_err());
    }
}
