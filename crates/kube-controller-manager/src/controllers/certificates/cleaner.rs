//! Removes requests that are of no use any more.

use std::time::Duration;

use api_types::k8s_openapi::{api::certificates::v1::CertificateSigningRequest, jiff::Timestamp};
use controller_runtime::{BoxError, Store};
use kube::{Api, Client, ResourceExt, api::DeleteParams};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::has_certificate;
use crate::context::Context;

const PERIOD: Duration = Duration::from_secs(3600);
const DECIDED: i64 = 3600;
const PENDING: i64 = 24 * 3600;

pub(crate) fn start(context: &Context) -> Result<(), BoxError> {
    let requests = context.informer::<CertificateSigningRequest>().store().clone();
    let client = context.client.clone();
    context.spawn(async move {
        loop {
            clean(&client, &requests).await;
            tokio::time::sleep(PERIOD).await;
        }
    });
    Ok(())
}

async fn clean(client: &Client, requests: &Store<CertificateSigningRequest>) {
    let now = component_base::clock::now();
    for csr in requests.list().iter().filter(|csr| is_old(csr, now)) {
        let name = csr.name_any();
        match Api::<CertificateSigningRequest>::all(client.clone()).delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => tracing::warn!(request = %name, %error, "could not remove an old request"),
        }
    }
}

/// Issued or refused an hour ago, never decided in a day, or with an expired certificate.
pub(super) fn is_old(csr: &CertificateSigningRequest, now: Timestamp) -> bool {
    let age = |time: Option<Timestamp>| time.map_or(0, |time| now.as_second() - time.as_second());
    let conditions = || csr.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let since = |type_: &str| conditions().find(|c| c.type_ == type_).map(|c| c.last_update_time.as_ref().map(|t| t.0));
    let issued = has_certificate(csr);
    let approved = since("Approved");
    if issued && approved.is_some_and(|at| age(at) > DECIDED) {
        return true;
    }
    if ["Denied", "Failed"].into_iter().filter_map(since).any(|at| age(at) > DECIDED) {
        return true;
    }
    let created = csr.creation_timestamp().map(|t| t.0);
    if !issued && age(created) > PENDING {
        return true;
    }
    issued && expires(csr).is_some_and(|at| at < now)
}

fn expires(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let pem = csr.status.as_ref()?.certificate.as_ref()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem.0).ok()?;
    let (_, certificate) = X509Certificate::from_der(&pem.contents).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}
