"""Where the store has the results of a computed study, for tests that look there."""

from klas.results.keys import Keys
from klas.results.result import FinetunedWeights, Latency, Machine, Tuned, ZeroShot, outcomes_of
from klas.results.trainings import joint_training


def key_of(document, study, result):
    """Where a result of a study is stored."""
    return Keys.of_document(document, study).of(result)


def outcomes_key(pair, study, tier):
    """Where it is stored which validation samples each candidate gets right."""
    kind = {"zero_shot": ZeroShot, "tuned": Tuned}[tier]
    source, target = pair.names
    return key_of(pair.document, study, kind(source=source, target=target))


def training_key(pair, chosen, study):
    """Where the accuracies of a selection's joint training are stored."""
    return key_of(pair.document, study, joint_training(pair, chosen, study.finetuning))


def trained_weights(pair, chosen, study) -> FinetunedWeights:
    """What a selection's joint training makes."""
    return joint_training(pair, chosen, study.finetuning).weights


def trained_outcomes_key(pair, chosen, study, split):
    """Where it is stored which samples of a split the jointly trained networks get right."""
    weights = trained_weights(pair, chosen, study)
    return key_of(pair.document, study, outcomes_of(weights, split))


def latency_key(pair, study, machine):
    """Where a pair's forward times on a machine are stored."""
    source, target = pair.names
    result = Latency(source=source, target=target, machine=Machine(**machine))
    return key_of(pair.document, study, result)
