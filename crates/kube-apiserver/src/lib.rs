//! kube-apiserver

pub mod auth;
