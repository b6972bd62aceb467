//! A feature service bound: the request's columns and the features of its views, turned into the vector a model reads.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use asof_definition::FeatureService;

use crate::error::FeatureError;
use crate::failure::{FeatureFailure, failures_of, without_failed};
use crate::view::{ViewAnswers, nullable};

/// A feature service, ready to evaluate rows of requests.
#[derive(Debug, Clone)]
pub struct ServicePlan {
    service: Arc<FeatureService>,
    request_schema: SchemaRef,
    schema: SchemaRef,
}

impl ServicePlan {
    /// Binds a service.
    pub fn new(service: Arc<FeatureService>) -> ServicePlan {
        let request_schema = nullable(&service.request_scope().schema());
        let schema = nullable(&service.service_scope().schema());
        ServicePlan { service, request_schema, schema }
    }

    /// The definition.
    pub fn service(&self) -> &Arc<FeatureService> {
        &self.service
    }

    /// The entity keys that each join asks its view for, of rows of requests. A row whose key expression fails is listed
    /// with the index of its join in place of a feature.
    pub fn keys(&self, request: &[ArrayRef], rows: usize) -> Result<JoinKeys, FeatureError> {
        let batch = self.batch(self.request_schema.clone(), request.to_vec(), rows)?;
        let mut keys = Vec::with_capacity(self.service.joins.len());
        let mut failures = Vec::new();
        for (place, join) in self.service.joins.iter().enumerate() {
            let mut parts = Vec::with_capacity(join.key.len());
            for expression in &join.key {
                let evaluated = expression.evaluate_each(&batch, None);
                failures.extend(failures_of(place, expression, &evaluated, |_| Vec::new()));
                parts.push(asof_expression::normalize(&evaluated.values));
            }
            keys.push(parts);
        }
        Ok(JoinKeys { keys, failures })
    }

    /// The service's features. `keys` and `answers` hold one element for each join.
    pub fn features(
        &self,
        request: &[ArrayRef],
        keys: &[Vec<ArrayRef>],
        answers: &[ViewAnswers],
        rows: usize,
    ) -> Result<(Vec<ArrayRef>, Vec<FeatureFailure>), FeatureError> {
        let mut columns = request.to_vec();
        // For each column of the scope that is a view's feature: the join and the feature's place.
        let mut origin: Vec<Option<(usize, usize)>> = vec![None; columns.len()];
        for (join, (parts, view)) in keys.iter().zip(answers).enumerate() {
            columns.extend(parts.iter().cloned());
            origin.resize(columns.len(), None);
            columns.extend(view.features.iter().cloned());
            origin.extend((0..view.features.len()).map(|feature| Some((join, feature))));
        }
        let batch = self.batch(self.schema.clone(), columns, rows)?;
        let fails = answers.iter().any(|view| !view.failures.is_empty());
        let mut failures = Vec::new();
        let mut features = Vec::with_capacity(self.service.features.len());
        for (place, feature) in self.service.features.iter().enumerate() {
            let evaluated = feature.expression.evaluate_each(&batch, None);
            let mut own = Vec::new();
            if fails || !evaluated.failures.is_empty() {
                own = failures_of(place, &feature.expression, &evaluated, |column| {
                    let Some((join, inner)) = origin[column] else { return Vec::new() };
                    let inherited = answers[join].failures.iter().filter(|failure| failure.feature == inner);
                    inherited.map(|failure| FeatureFailure { feature: place, ..failure.clone() }).collect()
                });
            }
            features.push(without_failed(evaluated.values, &own));
            failures.append(&mut own);
        }
        Ok((features, failures))
    }

    fn batch(&self, schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, FeatureError> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(|source| FeatureError::Arrow {
            object: format!("feature service `{}`", self.service.name),
            source,
        })
    }
}

/// Entity keys of rows of requests, for each join of a service.
#[derive(Debug, Clone)]
pub struct JoinKeys {
    /// For each join, the parts of its view's key.
    pub keys: Vec<Vec<ArrayRef>>,
    /// Key expressions that failed; `feature` is the index of the join.
    pub failures: Vec<FeatureFailure>,
}
