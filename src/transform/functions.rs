//! The functions that expressions may call: DataFusion's scalar ones, those of arrays, maps and structs included.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};

use datafusion_common::config::ConfigOptions;
use datafusion_expr::{HigherOrderUDF, ScalarUDF, Volatility};

/// By name and alias, in lower case.
pub(super) struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    /// Those that take a lambda.
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
}

pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// The settings that functions see, whatever the machine is set to.
pub(super) static SETTINGS: LazyLock<Arc<ConfigOptions>> = LazyLock::new(|| {
    let mut settings = ConfigOptions::new();
    settings.execution.time_zone = Some("UTC".into());
    Arc::new(settings)
});

/// What one name is to an expression over one record.
pub(super) enum Known {
    Usable,
    /// Its value depends on when, where or how often it is called.
    Volatile,
    /// It needs several records.
    Aggregate,
    /// It makes several rows of one.
    Unnesting,
    Unknown,
}

impl Functions {
    fn new() -> Self {
        let all = datafusion_functions::all_default_functions()
            .into_iter()
            .chain(datafusion_functions_nested::all_default_nested_functions());
        let mut scalar = HashMap::new();
        for function in all {
            // Some are made for a time zone: ours.
            let function =
                function.inner().with_updated_config(&SETTINGS).map(Arc::new).unwrap_or(function);
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                scalar.insert(name.to_lowercase(), Arc::clone(&function));
            }
        }
        let mut higher_order = HashMap::new();
        for function in datafusion_functions_nested::all_default_higher_order_functions() {
            for name in function.aliases().iter().map(String::as_str).chain([function.name()]) {
                higher_order.insert(name.to_lowercase(), Arc::clone(&function));
            }
        }
        Self { scalar, higher_order }
    }

    pub(super) fn known(&self, name: &str) -> Known {
        let name = name.to_lowercase();
        if let Some(function) = self.scalar.get(&name) {
            return match function.signature().volatility {
                // Of the library.
                _ if name == "version" => Known::Volatile,
                Volatility::Immutable => Known::Usable,
                Volatility::Stable | Volatility::Volatile => Known::Volatile,
            };
        }
        match name.as_str() {
            // `map` and `make_map` are planned by a rule of their own.
            _ if self.higher_order.contains_key(&name) || name == "make_map" => Known::Usable,
            "unnest" | "unnest_outer" | "explode" => Known::Unnesting,
            "localtime" | "localtimestamp" | "rand" | "gen_random_uuid" | "uuidv7" => {
                Known::Volatile
            }
            name if AGGREGATES.contains(&name) => Known::Aggregate,
            _ => Known::Unknown,
        }
    }

    pub(super) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(&name.to_lowercase()).cloned()
    }

    pub(super) fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(&name.to_lowercase()).cloned()
    }

    /// The names that may be called, in order.
    pub(super) fn usable(&self) -> BTreeSet<&str> {
        let names = self.scalar.keys().chain(self.higher_order.keys()).map(String::as_str);
        names.chain(["make_map"]).filter(|name| matches!(self.known(name), Known::Usable)).collect()
    }
}

/// Aggregates and window functions of DataFusion and Spark, so that they are told from misspelt names.
const AGGREGATES: &[&str] = &[
    "any_value",
    "approx_count_distinct",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "collect_list",
    "collect_set",
    "corr",
    "count",
    "count_if",
    "covar_pop",
    "covar_samp",
    "cume_dist",
    "dense_rank",
    "every",
    "first",
    "first_value",
    "grouping",
    "lag",
    "last",
    "last_value",
    "lead",
    "listagg",
    "max",
    "max_by",
    "mean",
    "median",
    "min",
    "min_by",
    "mode",
    "nth_value",
    "ntile",
    "percent_rank",
    "percentile",
    "percentile_cont",
    "rank",
    "row_number",
    "some",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_samp",
    "variance",
];
