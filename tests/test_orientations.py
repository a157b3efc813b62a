"""How particles lie to a template: the search over rotations and shifts."""

import numpy as np
import torch

from scenes import scene, search_for


def test_the_search_finds_the_best_of_all_correlations() -> None:
    """Neighbouring rotations and shifts differ by less than half precision tells: which is best must not hang on it."""
    search, (average, *others) = search_for(scene()[0]), scene()[1]
    template, spectra = search.cut.cut(average[None])[0], search.cut.spectra(np.array(others))
    found = search.find(template, spectra, n_best=3)
    templates = search.bank.turned(template).to(torch.complex128)
    templates /= templates.norm(dim=1, keepdim=True)
    for i, spectrum in enumerate(spectra.to(torch.complex128)):
        moved = spectrum / spectrum.norm() * search.phases
        correlations, shifts = (moved.conj() @ templates.T).real.max(dim=0)
        best = correlations.argsort(descending=True)[:3]
        np.testing.assert_allclose(found.correlations[i], float(correlations[best[0]]), atol=1e-5)
        np.testing.assert_allclose(correlations[found.best[i]], correlations[best], atol=1e-5)
        np.testing.assert_allclose(correlations[found.rotation[i]], correlations[best[0]], atol=1e-5)
        assert found.shift[i] == shifts[found.rotation[i]]
