package bake

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// Project says which Compose project is read, as the flags of `docker compose` say it. What is not given comes from
// the environment (COMPOSE_FILE, COMPOSE_PROJECT_NAME, COMPOSE_PROFILES, COMPOSE_ENV_FILES) or is found from the
// working directory upwards.
type Project struct {
	Files     []string // "-" is standard input
	Name      string
	Directory string
	Profiles  []string
	EnvFiles  []string
}

// Services are what of a project is to be built.
type Services struct {
	Config *Config
	// Names are the targets of the services that were asked for and have something to build.
	Names []string
}

// Load reads the project: a target for each of its services that has something to build. names are the services
// that are asked for, none for all that the profiles enable; dependencies adds those that they depend on.
func (p Project) Load(ctx context.Context, names []string, dependencies bool) (*Services, error) {
	project, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	s := &Services{Config: &Config{}}
	all := project.AllServices()
	for _, name := range slices.Sorted(mapKeys(all)) {
		service := all[name]
		if service.Build == nil {
			continue
		}
		t, err := composeTarget(project, &service)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		if t.Platforms, err = platformsOf(project, &service); err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		t.Tags = said(append([]string{imageName(project, &service)}, service.Build.Tags...))
		s.Config.Targets = append(s.Config.Targets, t)
	}
	if s.Names, err = selected(project, names, dependencies); err != nil {
		return nil, err
	}
	return s, nil
}

// AllProfiles are the profiles that services of the project have, sorted.
func (p Project) AllProfiles(ctx context.Context) ([]string, error) {
	project, err := p.load(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, service := range project.AllServices() {
		for _, name := range service.Profiles {
			all[name] = true
		}
	}
	return slices.Sorted(mapKeys(all)), nil
}

func (p Project) load(ctx context.Context) (*types.Project, error) {
	options, err := cli.NewProjectOptions(p.Files,
		cli.WithWorkingDirectory(p.Directory), cli.WithOsEnv,
		cli.WithEnvFiles(p.EnvFiles...), cli.WithDotEnv,
		cli.WithConfigFileEnv, cli.WithDefaultConfigPath,
		cli.WithEnvFiles(p.EnvFiles...), cli.WithDotEnv,
		cli.WithDefaultProfiles(p.Profiles...), cli.WithName(p.Name))
	if err != nil {
		return nil, fmt.Errorf("finding the Compose project: %w", err)
	}
	for _, name := range options.ConfigPaths { // which compose-go reads whole
		if st, err := os.Stat(name); err == nil && (st.Mode()&os.ModeDevice != 0 || st.Size() > maxFile) {
			return nil, fmt.Errorf("reading the Compose project: %s is a device, or has more than %d bytes; name a Compose file with -f", name, maxFile)
		}
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the Compose project: %w", err)
	}
	return project, nil
}

// platformsOf are the platforms that a service is built for: those of its build section, else the one that it runs on,
// else DOCKER_DEFAULT_PLATFORM. As with docker compose, the one that it runs on has to be among those of the section.
func platformsOf(project *types.Project, s *types.ServiceConfig) ([]string, error) {
	const variable = "DOCKER_DEFAULT_PLATFORM"
	runs, from := s.Platform, "platform"
	if runs == "" {
		runs, from = project.Environment[variable], variable
	}
	built := s.Build.Platforms
	switch {
	case runs == "" || slices.Contains(built, runs):
		return built, nil
	case len(built) > 0:
		return nil, fmt.Errorf("%s is %s, which build.platforms does not have: add it there", from, runs)
	}
	return []string{runs}, nil
}

// imageName is what the image of a service is called: PROJECT-SERVICE, if it says nothing.
func imageName(project *types.Project, s *types.ServiceConfig) string {
	if s.Image != "" {
		return s.Image
	}
	return project.Name + "-" + s.Name
}

func selected(project *types.Project, names []string, dependencies bool) (targets []string, err error) {
	if len(names) > 0 {
		if project, err = project.WithServicesEnabled(names...); err != nil {
			return nil, err
		}
		how := types.IgnoreDependencies
		if dependencies {
			how = types.IncludeDependencies
		}
		if project, err = project.WithSelectedServices(names, how); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(mapKeys(project.Services)) {
		if project.Services[name].Build != nil {
			targets = append(targets, TargetName(name))
		}
	}
	return targets, nil
}
