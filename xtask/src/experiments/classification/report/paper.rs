//! The paper's tables as they come with the program.

use anyhow::{Context as _, anyhow};

/// A printed figure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Printed {
    pub(super) model: String,
    pub(super) dataset: String,
    /// Of Tables 6 and 7, counted from 1.
    pub(super) layer: Option<usize>,
    /// As the experiments name it.
    pub(super) condition: String,
    pub(super) mean: f64,
    pub(super) sd: Option<f64>,
    /// Stars, `ns`, or nothing.
    pub(super) stars: String,
}

pub(super) const TABLE_6: &str = include_str!("../../../../paper/table06.tsv");
pub(super) const TABLE_7: &str = include_str!("../../../../paper/table07.tsv");

/// The figures of a table that are of this kind (`top1_pct`, `p_median`).
pub(super) fn figures(table: &str, metric: &str) -> anyhow::Result<Vec<Printed>> {
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [_, model, dataset, layer, condition, p, kind, mean, sd, _, stars, _] = cells[..]
        else {
            return Err(anyhow!("{line}: expected 12 columns"));
        };
        if kind != metric {
            continue;
        }
        found.push(Printed {
            model: model.into(),
            dataset: dataset.into(),
            layer: layer.parse().ok(),
            condition: match condition {
                "lp" => format!("lp{p}"),
                "lp_frozen" => format!("lpf{p}"),
                other => other.into(),
            },
            mean: mean.parse().with_context(|| line.to_owned())?,
            sd: sd.parse().ok(),
            stars: if ["*", "**", "***", "ns"].contains(&stars) { stars.into() } else { "".into() },
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_whole() {
        let table = |n: u8| match n {
            1 => include_str!("../../../../paper/table01.tsv"),
            3 => include_str!("../../../../paper/table03.tsv"),
            _ => include_str!("../../../../paper/table09.tsv"),
        };
        let top1 = figures(table(1), "top1_pct").unwrap();
        assert_eq!(top1.len(), 70);
        let cell = top1
            .iter()
            .find(|f| f.model == "AlexNet" && f.dataset == "CIFAR-100" && f.condition == "large");
        let cell = cell.unwrap();
        assert_eq!((cell.mean, cell.sd, cell.stars.as_str()), (54.53, Some(0.65), "***"));
        assert!(top1.iter().any(|f| f.condition == "lpf256"));
        assert_eq!(figures(table(3), "top1_pct").unwrap().len(), 2);
        assert_eq!(figures(table(9), "top1_pct").unwrap().len(), 8);
        for text in [TABLE_6, TABLE_7] {
            let p = figures(text, "p_median").unwrap();
            assert_eq!(p.len(), 384);
            assert!(p.iter().all(|f| f.layer.is_some()));
        }
    }
}
