"""The project's own folder of configuration in Hydra's search path, behind ours."""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from harness import project
from harness.files import conf_dir


class ProjectSearchPath(SearchPathPlugin):
    """``conf`` of ``[tool.bce_harness]``: its choices are listed, composed and swept as ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        # Hydra asks for every application, also those of others.
        paths = {one.path.removeprefix("file://") for one in search_path.get_path() if one.path}
        if str(conf_dir()) in paths and (folder := project.conf()):
            search_path.append("project", f"file://{folder}")
