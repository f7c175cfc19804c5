"""The run of any task: devices, steps, checkpoints, recovery and progress.

    driver.run                           checks settings, creates the strategy, locks the folder
      assembly.TrainingRun               builds task, trainer and runner; restores the checkpoint
        runner.ExperimentRunner          Model Garden's, with our checkpoints (checkpointing.py)
          controller.ResumableController when to train, save, evaluate, recover and end
            trainer.TaskTrainer          one step: the task's losses, guarded (nonfinite.py)

A task is known by its protocol alone, `task.TrainableTask`; `mtl_ssl_tf/tasks/` holds the tasks.
"""
