"""Parameters on their way to scikit-learn and PyTorch and back: the same probabilities for the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from twolayer.network.model import Params, forward, init_params, softmax

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 5))


def network(n_hidden, n_classes, dtype=np.float64):
    params = init_params(5, n_hidden, n_classes, rng=np.random.default_rng(1), dtype=dtype)
    return params._replace(b2=np.linspace(-1, 1, n_classes).astype(dtype))


def same(a: Params, b: Params):
    assert a.named().keys() == b.named().keys()
    for name, array in a.named().items():
        assert array.dtype == b.named()[name].dtype
        assert np.array_equal(array, b.named()[name])


@pytest.fixture
def sklearn_bridge():
    pytest.importorskip("sklearn")
    from twolayer.interop import bridges

    return bridges


class TestScikitLearn:
    @pytest.mark.parametrize("hidden", [(7,), ()])
    @pytest.mark.parametrize("n_classes", [2, 3, 4])
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_a_fitted_mlpclassifier_has_the_same_probabilities_here(self, sklearn_bridge, hidden, n_classes):
        from sklearn.neural_network import MLPClassifier

        y = np.arange(40) % n_classes
        mlp = MLPClassifier(hidden, max_iter=20, learning_rate_init=0.05, random_state=0).fit(X, y)
        params = sklearn_bridge.params_from_mlp(mlp)
        assert params.n_classes == n_classes
        assert np.abs(softmax(forward(params, X)) - mlp.predict_proba(X)).max() < 1e-12

    @pytest.mark.parametrize("n_hidden", [6, 0])
    @pytest.mark.parametrize("n_classes", [2, 3])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_parameters_have_the_same_probabilities_there(self, sklearn_bridge, n_hidden, n_classes, dtype):
        params = network(n_hidden, n_classes, dtype)
        labels = [f"class {k}" for k in range(n_classes)]
        mlp = sklearn_bridge.params_to_mlp(params, labels)
        P = softmax(forward(params, X.astype(dtype)))
        assert np.abs(P - mlp.predict_proba(X.astype(dtype))).max() < 1e-6
        assert mlp.predict(X).tolist() == [labels[k] for k in P.argmax(axis=1)]

    def test_there_and_back_three_classes_are_the_same_bits(self, sklearn_bridge):
        params = network(6, 3)
        same(sklearn_bridge.params_from_mlp(sklearn_bridge.params_to_mlp(params)), params)

    def test_the_way_copies(self, sklearn_bridge):
        params = network(6, 3)
        mlp = sklearn_bridge.params_to_mlp(params)
        mlp.coefs_[0][...] = 0
        assert params.W1.any()
        mlp.coefs_[1][...] = 1
        back = sklearn_bridge.params_from_mlp(mlp)
        mlp.coefs_[1][...] = 2
        assert (back.W2 == 1).all()

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_another_network_is_refused(self, sklearn_bridge):
        from sklearn.neural_network import MLPClassifier

        y = np.arange(40) % 3
        with pytest.raises(ValueError, match="one hidden layer, got 2"):
            sklearn_bridge.params_from_mlp(MLPClassifier((3, 3), max_iter=2).fit(X, y))
        with pytest.raises(ValueError, match="activation='relu', got 'tanh'"):
            sklearn_bridge.params_from_mlp(MLPClassifier((3,), activation="tanh", max_iter=2).fit(X, y))
        with pytest.raises(ValueError, match="multilabel"):
            sklearn_bridge.params_from_mlp(MLPClassifier((3,), max_iter=2).fit(X, np.eye(3, dtype=int)[y]))

    def test_labels_out_of_order_are_refused(self, sklearn_bridge):
        with pytest.raises(ValueError, match="ascending"):
            sklearn_bridge.params_to_mlp(network(6, 3), ["b", "a", "c"])


class TestPyTorch:
    @pytest.fixture(autouse=True)
    def _torch(self):
        self.torch = pytest.importorskip("torch")
        from twolayer.interop import bridges

        self.bridges = bridges

    @pytest.mark.parametrize("n_hidden", [6, 0])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_parameters_have_the_same_probabilities_there(self, n_hidden, dtype):
        params = network(n_hidden, 3, dtype)
        module = self.bridges.params_to_torch(params)
        P = self.torch.softmax(module(self.torch.tensor(X.astype(dtype))), dim=1).detach().numpy()
        assert P.dtype == dtype
        assert np.abs(P - softmax(forward(params, X.astype(dtype)))).max() < 1e-6
        same(self.bridges.params_from_torch(module), params)

    def test_the_gradients_there_are_those_of_backprop(self):
        from twolayer import loss_and_gradients

        params, y = network(6, 3), np.arange(40) % 3
        module = self.bridges.params_to_torch(params)
        self.torch.nn.functional.cross_entropy(module(self.torch.tensor(X)), self.torch.tensor(y)).backward()
        _, gradients = loss_and_gradients(params, X, y)
        assert np.allclose(module[0].weight.grad.numpy().T, gradients.W1, atol=1e-12)
        assert np.allclose(module[2].bias.grad.numpy(), gradients.b2, atol=1e-12)

    def test_another_network_is_refused(self):
        nn = self.torch.nn
        for wrong in (
            nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)),
            nn.Sequential(nn.Linear(2, 3, bias=False)),
            nn.Sequential(nn.Linear(2, 3), nn.ReLU()),
        ):
            with pytest.raises(ValueError, match=r"expected a Sequential\(Linear, ReLU, Linear\)"):
                self.bridges.params_from_torch(wrong)
