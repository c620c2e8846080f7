"""The robustness study on arrays that one already has."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from monosemy import Study

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.data.astype(np.float32), digits.target, stratify=digits.target, random_state=0
)

study = Study(label_noise=[0.4, 0.8], few_labels=[0.1], n_seeds=5, sae={"n_latents": 256, "k": 8})
result = study.run(X_train, y_train, X_test, y_test)

print(result.verdict)
