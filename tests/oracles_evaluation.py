"""Scores written from their definitions, for a handful of points and labels."""

from itertools import combinations, permutations

import numpy as np


def best_matching(predicted, truth, distance):
    """(number of pairs, total distance) of the best one-to-one matching, by trying all of them."""
    d = np.array([[np.linalg.norm(p - t) for t in truth] for p in predicted]).reshape(len(predicted), len(truth))
    for k in range(min(d.shape), 0, -1):
        totals = [
            sum(d[i, j] for i, j in zip(rows, columns, strict=True))
            for rows in combinations(range(d.shape[0]), k)
            for columns in permutations(range(d.shape[1]), k)
            if all(d[i, j] <= distance for i, j in zip(rows, columns, strict=True))
        ]
        if totals:
            return k, min(totals)
    return 0, 0.0


def curve(predicted, truth, distance, scores):
    """(average precision, best F1, its threshold), trying every threshold with the best matching of its own."""
    area, last_recall, best = 0.0, 0.0, (-1.0, None)
    for threshold in sorted(set(scores.tolist()), reverse=True):
        kept = predicted[scores >= threshold]
        hits, _ = best_matching(kept, truth, distance)
        precision = hits / len(kept)
        recall = hits / len(truth) if len(truth) else 0.0
        area += (recall - last_recall) * precision
        last_recall = recall
        f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
        if f1 > best[0]:
            best = (f1, threshold)
    return area, *best


def instance_ious(predicted, truth):
    """Table of IoU of every predicted against every true instance, from full masks."""
    names_p = [n for n in np.unique(predicted) if n > 0]
    names_t = [n for n in np.unique(truth) if n > 0]
    table = np.zeros((len(names_p), len(names_t)))
    for i, p in enumerate(names_p):
        for j, t in enumerate(names_t):
            a, b = predicted == p, truth == t
            table[i, j] = (a & b).sum() / (a | b).sum()
    return table


def panoptic(predicted, truth):
    """(PQ, SQ, RQ) from the definition: sums over the pairs with IoU above 0.5."""
    table = instance_ious(predicted, truth)
    matched = table[table > 0.5]
    tp, fp, fn = len(matched), table.shape[0] - len(matched), table.shape[1] - len(matched)
    if tp + fp + fn == 0:
        return 1.0, 1.0, 1.0
    sq = matched.mean() if tp else 0.0
    rq = tp / (tp + fp / 2 + fn / 2)
    return matched.sum() / (tp + fp / 2 + fn / 2), sq, rq


def best_iou_sum(predicted, truth):
    """Largest sum of IoU that a one-to-one pairing reaches, by trying all of them."""
    table = instance_ious(predicted, truth)
    if table.shape[0] > table.shape[1]:
        table = table.T
    rows = range(table.shape[0])
    return max((sum(table[i, c[i]] for i in rows) for c in permutations(range(table.shape[1]), len(rows))), default=0.0)
